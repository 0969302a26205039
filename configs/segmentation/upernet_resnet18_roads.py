# Small UPerNet, ResNet-18, roads against background.
# Data:      data/segmentation/roads/{img_dir,ann_dir}/satImage_NNN.{jpg,png}
# Command:   python tools/train.py configs/segmentation/upernet_resnet18_roads.py \
#                --backbone BACKBONE
# Time:      3 minutes of one core; mIoU 51.3 with CMID (an epoch of EuroSAT), 53.1
#            from random weights
_base_ = [
    "_base_/models/upernet_resnet18.py",
    "_base_/datasets/roads.py",
    "_base_/schedules/small.py",
    "_base_/runtime.py",
]
model = dict(
    data_preprocessor=dict(size=(192, 192)),
    # Roads cover a fifth of the pixels; unweighted, the first hundreds of steps predict none.
    decode_head=dict(
        num_classes=2, loss_decode=dict(type="CrossEntropyLoss", class_weight=[1.0, 3.0])
    ),
    auxiliary_head=dict(num_classes=2),
)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
train_dataloader = dict(batch_size=4)
train_cfg = dict(max_epochs=16, val_interval=8)
default_hooks = dict(logger=dict(interval=12))
