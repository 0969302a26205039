# As faster_rcnn_resnet18_scenes.py, on GeoTIFF with a near-infrared band; BACKBONE reads 4 bands,
# too.
# Data:      python tools/make_scenes.py --task detection --bands 4 \
#                --out runs/scenes/detection_4band
# Command:   python tools/train.py configs/detection/faster_rcnn_resnet18_scenes_4band.py \
#                --backbone BACKBONE
# Time:      as that one; not run in full here
_base_ = "faster_rcnn_resnet18_scenes.py"
model = dict(
    data_preprocessor=dict(
        type="BandDetDataPreprocessor",
        mean=[111.8, 113.0, 99.1, 155.4],
        std=[41.4, 37.8, 36.3, 65.1],
        bgr_to_rgb=False,
    ),
    backbone=dict(in_channels=4),
)
load = dict(type="LoadRaster")
train_pipeline = [load, *_base_.train_pipeline[1:]]
test_pipeline = [load, *_base_.test_pipeline[1:]]
tta_pipeline = [load, *_base_.tta_pipeline[1:]]
data = dict(data_root="runs/scenes/detection_4band")
train_dataloader = dict(dataset=dict(**data, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(**data, pipeline=test_pipeline))
test_dataloader = val_dataloader
