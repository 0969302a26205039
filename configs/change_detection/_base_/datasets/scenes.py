# Generated scenes of 128 pixels; crops of 64. They come with their own change of light and season.
_base_ = "pairs.py"
train_pipeline = [
    dict(type="LoadPair"),
    dict(type="LoadChangeLabel"),
    dict(type="RandomCrop", crop_size=(64, 64)),
    dict(type="RandomRotFlip", rotate_prob=0.0, flip_prob=1.0),
    dict(type="RandomFlip", prob=0.5),
    dict(type="RandomDateSwap", prob=0.5),
    dict(type="PackSegInputs"),
]
train_dataloader = dict(
    num_workers=1,
    dataset=dict(data_root="runs/scenes/change_detection/train", pipeline=train_pipeline),
)
val_dataloader = dict(num_workers=1, dataset=dict(data_root="runs/scenes/change_detection/val"))
test_dataloader = val_dataloader
