# Faster R-CNN on DIOR, 20 classes.
# Data:      data/dior as published, then: python tools/prepare_detection.py dior data/dior
# Command:   python tools/train.py configs/detection/faster_rcnn_resnet50_dior.py \
#                --backbone BACKBONE
# Not run here: it needs DIOR and a GPU.
_base_ = [
    "_base_/models/faster_rcnn_resnet50.py",
    "_base_/datasets/dior.py",
    "_base_/schedules/sgd.py",
    "_base_/runtime.py",
]
model = dict(roi_head=dict(bbox_head=dict(num_classes=20)))
