# Oriented R-CNN on DIOR-R, 20 classes.
# Data:      data/dior as published, then: python tools/prepare_detection.py dior data/dior
# Command:   python tools/train.py configs/oriented_detection/oriented_rcnn_resnet50_dior_r.py \
#                --backbone BACKBONE
# Not run here: it needs DIOR-R and a GPU.
_base_ = [
    "_base_/models/oriented_rcnn_resnet50.py",
    "_base_/datasets/dior_r.py",
    "../detection/_base_/schedules/sgd.py",
    "_base_/runtime.py",
]
model = dict(roi_head=dict(bbox_head=dict(num_classes=20)))
