# UPerNet, ViT-B/16, LoveDA, 7 classes.
# Command:   python tools/train.py configs/segmentation/upernet_vit_base_loveda.py \
#                --backbone BACKBONE
# Data:      data/loveda/{img_dir,ann_dir}/{train,val}
#            (tools/prepare_segmentation.py loveda)
# Hardware:  meant for one GPU of 24 GB; not run in full here.
_base_ = [
    "_base_/models/upernet_vit_base.py",
    "_base_/datasets/loveda.py",
    "_base_/schedules/adamw.py",
    "_base_/runtime.py",
]
model = dict(decode_head=dict(num_classes=7), auxiliary_head=dict(num_classes=7))
