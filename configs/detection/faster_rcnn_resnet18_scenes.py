# Faster R-CNN on generated scenes of 128 pixels, 5 classes.
# Data:      python tools/make_scenes.py --task detection
# Command:   python tools/train.py configs/detection/faster_rcnn_resnet18_scenes.py \
#                --backbone BACKBONE
# Time:      6 minutes of one core with 400 + 100 scenes; mAP 0.15, mAP50 0.28 from
#            random weights
_base_ = [
    "_base_/models/faster_rcnn_resnet18.py",
    "_base_/datasets/scenes.py",
    "_base_/schedules/scenes.py",
    "_base_/runtime.py",
]
model = dict(roi_head=dict(bbox_head=dict(num_classes=5)))
