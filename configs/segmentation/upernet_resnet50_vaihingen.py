# UPerNet, ResNet-50, ISPRS Vaihingen, 5 classes.
# Command:   python tools/train.py configs/segmentation/upernet_resnet50_vaihingen.py \
#                --backbone BACKBONE
# Data:      data/vaihingen/{img_dir,ann_dir}/{train,val}
#            (tools/prepare_segmentation.py vaihingen)
# Hardware:  meant for one GPU of 24 GB; not run in full here.
# Published: 79.44 mIoU with CMID.
_base_ = [
    "_base_/models/upernet_resnet50.py",
    "_base_/datasets/vaihingen.py",
    "_base_/schedules/sgd.py",
    "_base_/runtime.py",
]
model = dict(decode_head=dict(num_classes=5), auxiliary_head=dict(num_classes=5))
