# Roads in 70 aerial images of 400 pixels: 1 to 50 for training, 51 to 70 for the test.
_base_ = "tiles.py"
train_pipeline = [
    dict(type="LoadPicture"),
    dict(type="LoadCheckedAnnotations"),
    dict(type="RandomResize", scale=(400, 400), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=(192, 192), cat_max_ratio=0.95),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    dict(type="RandomFlip", prob=0.5, direction="vertical"),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackSegInputs"),
]
data = dict(
    type="ImageMaskFolder",
    data_root="data/segmentation/roads",
    data_prefix=dict(img_path="img_dir", seg_map_path="ann_dir"),
    metainfo=dict(classes=("background", "road"), palette=[[150, 150, 150], [255, 200, 0]]),
)
train_dataloader = dict(
    num_workers=1, dataset=dict(**data, indices=list(range(50)), pipeline=train_pipeline)
)
val_dataloader = dict(num_workers=1, dataset=dict(**data, indices=list(range(50, 70))))
test_dataloader = val_dataloader
