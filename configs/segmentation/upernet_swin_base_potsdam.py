# UPerNet, Swin-B, ISPRS Potsdam, 5 classes.
# Command:   python tools/train.py configs/segmentation/upernet_swin_base_potsdam.py \
#                --backbone BACKBONE
# Data:      data/potsdam/{img_dir,ann_dir}/{train,val}
#            (tools/prepare_segmentation.py potsdam)
# Hardware:  meant for one GPU of 24 GB; not run in full here.
# Published: 88.36 mIoU with CMID.
_base_ = [
    "_base_/models/upernet_swin_base.py",
    "_base_/datasets/potsdam.py",
    "_base_/schedules/adamw.py",
    "_base_/runtime.py",
]
model = dict(decode_head=dict(num_classes=5), auxiliary_head=dict(num_classes=5))
