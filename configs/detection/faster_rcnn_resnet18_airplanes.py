# Faster R-CNN on aerial images of airports, one class, for a CPU: crops for training.
# Data:      data/airplanes/{train,val}/*.jpg, data/airplanes/{train,val}.json (COCO's form)
# Command:   python tools/train.py configs/detection/faster_rcnn_resnet18_airplanes.py \
#                --backbone BACKBONE
# Time:      4 minutes of one core; AP50 0.090 with CMID (an epoch of EuroSAT), 0.074 from random
#            weights
_base_ = [
    "_base_/models/faster_rcnn_resnet18.py",
    "_base_/datasets/airplanes_crops.py",
    "_base_/schedules/small.py",
    "_base_/runtime.py",
]
model = dict(roi_head=dict(bbox_head=dict(num_classes=1)))
