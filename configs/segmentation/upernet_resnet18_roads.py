# Small UPerNet, ResNet-18, roads against background.
# Data:      data/segmentation/roads/{img_dir,ann_dir}/satImage_NNN.{jpg,png}
# Command:   python tools/train.py configs/segmentation/upernet_resnet18_roads.py \
#                --backbone BACKBONE
# Time:      for a CPU; not run in full here
_base_ = [
    "_base_/models/upernet_resnet18.py",
    "_base_/datasets/roads.py",
    "_base_/schedules/small.py",
    "_base_/runtime.py",
]
model = dict(
    data_preprocessor=dict(size=(192, 192)),
    decode_head=dict(num_classes=2),
    auxiliary_head=dict(num_classes=2),
)
train_cfg = dict(max_epochs=40, val_interval=10)
default_hooks = dict(logger=dict(interval=6))
