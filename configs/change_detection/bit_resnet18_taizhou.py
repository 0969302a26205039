# BIT, ResNet-18, Taizhou: one pair of multispectral Landsat images.
# Command:   python tools/train.py configs/change_detection/bit_resnet18_taizhou.py
#            (a --backbone has to be one of six bands)
# Data:      data/change/taizhou_landsat/{2000TM,2003TM,change.bmp,unchanged.bmp}
# Time:      2 minutes of one core; F1 0.86 on the other half from random weights
_base_ = [
    "_base_/models/bit_resnet18.py",
    "_base_/datasets/taizhou.py",
    "_base_/schedules/small.py",
    "_base_/runtime.py",
]
model = dict(
    data_preprocessor=dict(
        mean=[87.8, 67.8, 65.8, 58.3, 61.1, 46.4],  # of the left half
        std=[12.5, 11.0, 12.2, 11.5, 14.8, 13.5],
        bgr_to_rgb=False,
        size=(64, 64),
    ),
    backbone=dict(in_channels=6),
)
default_hooks = dict(visualization=dict(stretch=True))
train_cfg = dict(max_epochs=20, val_interval=5)
