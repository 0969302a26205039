# UPerNet, ViT-B/16, iSAID, 15 classes and background.
# Command:   python tools/train.py configs/segmentation/upernet_vit_base_isaid.py \
#                --backbone BACKBONE
# Data:      data/isaid/{img_dir,ann_dir}/{train,val}
#            (tools/prepare_segmentation.py isaid)
# Hardware:  meant for one GPU of 24 GB; not run in full here.
_base_ = [
    "_base_/models/upernet_vit_base.py",
    "_base_/datasets/isaid.py",
    "_base_/schedules/adamw.py",
    "_base_/runtime.py",
]
model = dict(decode_head=dict(num_classes=16), auxiliary_head=dict(num_classes=16))
train_cfg = dict(max_epochs=20, val_interval=2)  # 34,000 tiles
