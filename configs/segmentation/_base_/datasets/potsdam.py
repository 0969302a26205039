# ISPRS Potsdam; clutter is ignored, as published. To train on it too, name all six classes.
_base_ = "tiles.py"
data = dict(
    type="CheckedPotsdam",
    data_root="data/potsdam",
    metainfo=dict(classes=("impervious_surface", "building", "low_vegetation", "tree", "car")),
)
train_dataloader = dict(dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = val_dataloader
