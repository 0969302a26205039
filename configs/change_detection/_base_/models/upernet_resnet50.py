# UPerNet on the absolute differences of a ResNet-50's maps, with an auxiliary FCN head.
norm_cfg = dict(type="BN")
model = dict(
    type="SiameseEncoderDecoder",
    data_preprocessor=dict(
        type="PairDataPreprocessor",
        mean=[123.675, 116.28, 103.53],  # ImageNet's; tools/train.py --backbone takes the export's
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        size=(256, 256),
        test_cfg=dict(size_divisor=32),
    ),
    backbone=dict(type="CMIDBackbone", name="random:resnet50"),
    neck=dict(type="FeatureDifference"),
    decode_head=dict(
        type="UPerHead",
        in_channels=[256, 512, 1024, 2048],
        in_index=[0, 1, 2, 3],
        channels=512,
        num_classes=2,
        out_channels=2,
        norm_cfg=norm_cfg,
        loss_decode=[
            dict(type="CrossEntropyLoss", avg_non_ignore=True),
            dict(type="BatchDiceLoss"),
        ],
    ),
    auxiliary_head=dict(
        type="FCNHead",
        in_channels=1024,
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        num_classes=2,
        out_channels=2,
        norm_cfg=norm_cfg,
        loss_decode=dict(type="CrossEntropyLoss", avg_non_ignore=True, loss_weight=0.4),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
