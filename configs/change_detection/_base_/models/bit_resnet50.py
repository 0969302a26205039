# The bitemporal image transformer on a ResNet-50 that both dates share.
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
    decode_head=dict(
        type="BITHead",
        in_channels=[256, 512, 1024, 2048],
        in_index=[0, 1, 2, 3],
        channels=32,
        transformer=dict(tokens=4, encoder_depth=1, decoder_depth=8, heads=8, head_channels=8),
        num_classes=2,
        out_channels=2,
        dropout_ratio=0.0,
        norm_cfg=dict(type="BN"),
        loss_decode=[
            dict(type="CrossEntropyLoss", avg_non_ignore=True),
            dict(type="BatchDiceLoss"),
        ],
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
