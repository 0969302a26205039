# BIT on the small ResNet-18 of configs/pretrain/cmid_resnet18_geotiff.yaml, 4 bands at two dates: a
# quarter of a generated scene, on whose rest tools/map.py finds what has changed.
# Data:      python tools/make_scenes.py --task geotiff
# Command:   python tools/train.py configs/change_detection/bit_resnet18_geotiff.py \
#                --backbone runs/cmid_resnet18_geotiff/backbone
# Time and score: benchmarks/reports/2026-11-26-whole-scenes.md.
_base_ = "bit_resnet18_scenes.py"
model = dict(
    data_preprocessor=dict(
        mean=[111.8, 113.0, 99.1, 155.4],
        std=[41.4, 37.8, 36.3, 65.1],
        bgr_to_rgb=False,
    ),
    backbone=dict(in_channels=4),
    decode_head=dict(in_channels=[32, 64, 128, 256]),
)
load = dict(type="LoadPair", loader=dict(type="LoadRaster"))
train_pipeline = [load, *_base_.train_pipeline[1:]]
test_pipeline = [load, *_base_.test_pipeline[1:]]
tta_pipeline = [load, *_base_.tta_pipeline[1:]]
data = dict(data_root="runs/scenes/geotiff/quarter")
train = ["img_dir/train", "second_dir/train", "change_dir/train"]
val = ["img_dir/val", "second_dir/val", "change_dir/val"]
train_dataloader = dict(dataset=dict(**data, folders=train, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(**data, folders=val, pipeline=test_pipeline))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=12, val_interval=4)
