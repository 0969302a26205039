# Faster R-CNN on any data in COCO's form: name its classes in the order of its categories.
# Data:      data/coco/{train,val}/, data/coco/{train,val}.json
# Command:   python tools/train.py configs/detection/faster_rcnn_resnet50_coco.py \
#                --backbone BACKBONE
# Not run in full here: it is an example.
_base_ = [
    "_base_/models/faster_rcnn_resnet50.py",
    "_base_/datasets/coco.py",
    "_base_/schedules/sgd.py",
    "_base_/runtime.py",
]
classes = ("object",)
model = dict(roi_head=dict(bbox_head=dict(num_classes=len(classes))))
train_dataloader = dict(dataset=dict(metainfo=dict(classes=classes)))
val_dataloader = dict(dataset=dict(metainfo=dict(classes=classes)))
test_dataloader = val_dataloader
