# Published protocol: train and val for training, the test part for evaluation.
_base_ = "coco.py"
classes = (
    *("airplane", "airport", "baseballfield", "basketballcourt", "bridge", "chimney", "dam"),
    *("expressway-service-area", "expressway-toll-station", "golffield", "groundtrackfield"),
    *("harbor", "overpass", "ship", "stadium", "storagetank", "tenniscourt", "trainstation"),
    *("vehicle", "windmill"),
)
data = dict(data_root="data/dior", data_prefix=dict(img=""), metainfo=dict(classes=classes))
train_dataloader = dict(dataset=dict(ann_file="coco/horizontal_trainval.json", **data))
val_dataloader = dict(dataset=dict(ann_file="coco/horizontal_test.json", **data))
test_dataloader = val_dataloader
