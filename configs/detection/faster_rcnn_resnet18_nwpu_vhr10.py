# Faster R-CNN on NWPU VHR-10, 10 classes, for a CPU: smaller images.
# Data:      data/nwpu_vhr10/{train,val}/*.jpg, data/nwpu_vhr10/{train,val}.json (COCO's form)
# Command:   python tools/train.py configs/detection/faster_rcnn_resnet18_nwpu_vhr10.py \
#                --backbone BACKBONE
# Time:      5 minutes of one core, too few to find much: AP50 0.015 with CMID (an epoch of
#            EuroSAT), 0.011 from random weights
_base_ = [
    "_base_/models/faster_rcnn_resnet18.py",
    "_base_/datasets/nwpu_vhr10_small.py",
    "_base_/schedules/small.py",
    "_base_/runtime.py",
]
model = dict(roi_head=dict(bbox_head=dict(num_classes=10)))
