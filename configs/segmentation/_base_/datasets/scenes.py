# Generated scenes of 128 pixels; crops of 96. They come with their own light and season.
_base_ = "tiles.py"
train_pipeline = [
    dict(type="LoadPicture"),
    dict(type="LoadCheckedAnnotations"),
    dict(type="RandomResize", scale=(128, 128), ratio_range=(0.75, 1.5), keep_ratio=True),
    dict(type="RandomCrop", crop_size=(96, 96), cat_max_ratio=0.75),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    dict(type="RandomFlip", prob=0.5, direction="vertical"),
    dict(type="PackSegInputs"),
]
data = dict(
    type="ImageMaskFolder",
    data_root="runs/scenes/segmentation",
    metainfo=dict(
        classes=(
            *("low vegetation", "cropland", "trees", "bare ground", "water", "pavement"),
            *("building", "ship", "plane", "storage tank", "vehicle"),
        ),
        palette=[
            *([150, 200, 90], [225, 205, 90], [20, 110, 40], [170, 120, 80], [50, 110, 220]),
            *([150, 150, 150], [215, 60, 50], [255, 140, 0], [160, 60, 200], [0, 210, 210]),
            [255, 80, 180],
        ],
    ),
)
train_dataloader = dict(num_workers=1, dataset=dict(**data, pipeline=train_pipeline))
val_dataloader = dict(num_workers=1, dataset=data)
test_dataloader = val_dataloader
