# Scene classification in mmpretrain: any timm backbone, average pooling, a linear layer.
# The published fine-tuning recipe: RandAugment, erasing, mixup, cutmix, smoothing, Adan 3.125e-3 at
# batch 16, cosine.
custom_imports = dict(imports=["benchmarks.openmmlab"])
default_scope = "mmpretrain"

model = dict(
    type="ImageClassifier",
    data_preprocessor=dict(
        type="ClsDataPreprocessor",
        mean=[123.675, 116.28, 103.53],  # ImageNet's; tools/train.py --backbone takes the export's
        std=[58.395, 57.12, 57.375],
        to_rgb=False,  # LabelledImages are RGB already
    ),
    backbone=dict(type="CMIDBackbone", name="random:resnet50", out_indices=(3,)),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="LinearClsHead",
        num_classes=21,
        in_channels=2048,
        loss=dict(type="LabelSmoothLoss", label_smooth_val=0.1, mode="original"),
        topk=(1,),
    ),
    train_cfg=dict(
        augments=[dict(type="Mixup", alpha=0.8), dict(type="CutMix", alpha=1.0)],
    ),
)

train_pipeline = [
    dict(type="RandomResizedCrop", scale=224, interpolation="bicubic"),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    dict(type="RandomFlip", prob=0.5, direction="vertical"),
    dict(
        type="RandAugment",
        policies="timm_increasing",
        num_policies=2,
        total_level=10,
        magnitude_level=9,
        magnitude_std=0.5,
    ),
    dict(type="RandomErasing", erase_prob=0.25, mode="rand", fill_color=[116, 116, 116]),
    dict(type="PackInputs"),
]
test_pipeline = [
    dict(type="Resize", scale=(224, 224), interpolation="bicubic"),
    dict(type="PackInputs"),
]
# For tools/test.py --tta: the image and its mirror images.
tta_model = dict(type="AverageClsScoreTTA")
mirrored = dict(
    type="TestTimeAug",
    transforms=[
        [
            dict(type="RandomFlip", prob=0.0),
            dict(type="RandomFlip", prob=1.0, direction="horizontal"),
            dict(type="RandomFlip", prob=1.0, direction="vertical"),
        ],
        [dict(type="PackInputs")],
    ],
)
tta_pipeline = [dict(type="Resize", scale=(224, 224), interpolation="bicubic"), mirrored]

train_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(type="LabelledImages", root="", part="train", pipeline=train_pipeline),
    drop_last=True,
)
val_dataloader = dict(
    batch_size=64,
    num_workers=4,
    persistent_workers=True,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="LabelledImages", root="", part="test", pipeline=test_pipeline, test_mode=True
    ),
)
test_dataloader = val_dataloader
val_evaluator = [
    dict(type="Accuracy", topk=(1,)),
    dict(type="SingleLabelMetric", items=("precision", "recall", "f1-score")),
]
test_evaluator = val_evaluator

optim_wrapper = dict(
    optimizer=dict(type="Adan", lr=3.125e-3, betas=(0.98, 0.92, 0.99), weight_decay=0.02),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=True, end=5, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", by_epoch=True, begin=5, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=200, val_interval=5)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=16)

default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=20),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="CheckpointHook", interval=1, max_keep_ckpts=2, save_best="accuracy/top1"),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    visualization=dict(type="VisualizationHook", enable=False),
)
vis_backends = [
    dict(type="LocalVisBackend"),
    dict(type="TensorboardVisBackend"),
    dict(type="CSVVisBackend"),
]
visualizer = dict(type="UniversalVisualizer", vis_backends=vis_backends)
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),
)
log_level = "INFO"
