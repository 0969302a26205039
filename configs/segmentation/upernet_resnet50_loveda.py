# UPerNet, ResNet-50, LoveDA, 7 classes.
# Command:   python tools/train.py configs/segmentation/upernet_resnet50_loveda.py \
#                --backbone BACKBONE
# Data:      data/loveda/{img_dir,ann_dir}/{train,val}
#            (tools/prepare_segmentation.py loveda)
# Hardware:  meant for one GPU of 24 GB; not run in full here.
_base_ = [
    "_base_/models/upernet_resnet50.py",
    "_base_/datasets/loveda.py",
    "_base_/schedules/sgd.py",
    "_base_/runtime.py",
]
model = dict(decode_head=dict(num_classes=7), auxiliary_head=dict(num_classes=7))
