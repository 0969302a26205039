# Oriented R-CNN with ResNet-50 on DOTA-v1.0, 15 classes: trained on train, tested on val.
# Data:      data/dota/{train,val}/{images,labelTxt} as published, then for train and val:
#            python tools/prepare_detection.py dota data/dota/train data/dota_tiles/train
# Command:   python tools/train.py configs/oriented_detection/oriented_rcnn_resnet50_dota.py \
#                --backbone BACKBONE
# Not run in full here: it needs DOTA and a GPU.
_base_ = [
    "_base_/models/oriented_rcnn_resnet50.py",
    "_base_/datasets/dota.py",
    "../detection/_base_/schedules/sgd.py",
    "_base_/runtime.py",
]
test_evaluator = dict(merge_patches=True, whole_labels="data/dota/val/labelTxt")
