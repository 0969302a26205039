# ISPRS Vaihingen (infrared, red, green); clutter is ignored, as published.
_base_ = "tiles.py"
data = dict(
    type="CheckedISPRS",
    data_root="data/vaihingen",
    metainfo=dict(classes=("impervious_surface", "building", "low_vegetation", "tree", "car")),
)
train_dataloader = dict(dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = val_dataloader
