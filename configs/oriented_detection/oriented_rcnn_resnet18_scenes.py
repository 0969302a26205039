# Oriented R-CNN on generated scenes of 128 pixels, 5 classes.
# Data:      python tools/make_scenes.py --task oriented_detection
# Command:   python tools/train.py configs/oriented_detection/oriented_rcnn_resnet18_scenes.py \
#                --backbone BACKBONE
# Time:      7 minutes of one core with 400 + 100 scenes; mAP50 0.21 from random weights
_base_ = [
    "_base_/models/oriented_rcnn_resnet18.py",
    "_base_/datasets/scenes.py",
    "../detection/_base_/schedules/scenes.py",
    "_base_/runtime.py",
]
model = dict(roi_head=dict(bbox_head=dict(num_classes=5)))
