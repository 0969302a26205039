# Faster R-CNN on NWPU VHR-10, 10 classes.
# Data:      data/nwpu_vhr10/{train,val}/*.jpg, data/nwpu_vhr10/{train,val}.json (COCO's form)
# Command:   python tools/train.py configs/detection/faster_rcnn_resnet50_nwpu_vhr10.py \
#                --backbone BACKBONE
# Not run in full here: it is made for a GPU.
_base_ = [
    "_base_/models/faster_rcnn_resnet50.py",
    "_base_/datasets/nwpu_vhr10.py",
    "_base_/schedules/sgd.py",
    "_base_/runtime.py",
]
model = dict(roi_head=dict(bbox_head=dict(num_classes=10)))
