# Images of 64 pixels: crops and flips; RandAugment and mixing leave too little of them.
_base_ = "mmpretrain.py"
model = dict(train_cfg=None)
train_pipeline = [
    dict(type="RandomResizedCrop", scale=64, crop_ratio_range=(0.5, 1.0), interpolation="bicubic"),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    dict(type="RandomFlip", prob=0.5, direction="vertical"),
    dict(type="PackInputs"),
]
resize = dict(type="Resize", scale=(64, 64), interpolation="bicubic")
test_pipeline = [resize, dict(type="PackInputs")]
tta_pipeline = [resize, {{_base_.mirrored}}]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
