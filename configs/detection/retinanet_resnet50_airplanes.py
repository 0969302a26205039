# RetinaNet on aerial images of airports, one class.
# Data:      data/airplanes/{train,val}/*.jpg, data/airplanes/{train,val}.json (COCO's form)
# Command:   python tools/train.py configs/detection/retinanet_resnet50_airplanes.py \
#                --backbone BACKBONE
# Not run in full here: it is made for a GPU.
_base_ = [
    "_base_/models/retinanet_resnet50.py",
    "_base_/datasets/airplanes.py",
    "_base_/schedules/sgd.py",
    "_base_/runtime.py",
]
model = dict(bbox_head=dict(num_classes=1))
