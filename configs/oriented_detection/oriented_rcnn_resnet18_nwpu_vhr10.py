# Oriented R-CNN on NWPU VHR-10, 10 classes, for a CPU; boxes are the smallest around its polygons.
# Data:      data/nwpu_vhr10/{train,val}/*.jpg, data/nwpu_vhr10/{train,val}.json (COCO's form)
# Command:   python tools/train.py configs/oriented_detection/oriented_rcnn_resnet18_nwpu_vhr10.py \
#                --backbone BACKBONE
# Time:      6 minutes of one core for 4 epochs; AP50 0.025 with CMID (an epoch of EuroSAT),
#            0.024 from random weights, far from what either can reach
_base_ = [
    "_base_/models/oriented_rcnn_resnet18.py",
    "_base_/datasets/nwpu_vhr10_small.py",
    "../detection/_base_/schedules/small.py",
    "_base_/runtime.py",
]
model = dict(roi_head=dict(bbox_head=dict(num_classes=10)))
