# UPerNet, ResNet-50, ISPRS Potsdam, 5 classes.
# Command:   python tools/train.py configs/segmentation/upernet_resnet50_potsdam.py \
#                --backbone BACKBONE
# Data:      data/potsdam/{img_dir,ann_dir}/{train,val}
#            (tools/prepare_segmentation.py potsdam)
# Hardware:  meant for one GPU of 24 GB; not run in full here.
# Published: 87.35 mIoU with CMID.
_base_ = [
    "_base_/models/upernet_resnet50.py",
    "_base_/datasets/potsdam.py",
    "_base_/schedules/sgd.py",
    "_base_/runtime.py",
]
model = dict(decode_head=dict(num_classes=5), auxiliary_head=dict(num_classes=5))
