# Taizhou, Landsat 7, 2000 and 2003, six bands (blue, green, red, three of infrared), 30 m. Only
# 21,390 of its 160,000 pixels are labelled. The left half trains, the right half tests: neither
# sees a pixel of the other.
_base_ = "pairs.py"
pair = dict(
    type="MarkedPair",
    data_root="data/change/taizhou_landsat",
    img_path="2000TM",
    img_path2="2003TM",
    changed_path="change.bmp",
    unchanged_path="unchanged.bmp",
)
load = dict(type="LoadPair", loader=dict(type="LoadRaster"))
left = dict(type="CropRegion", top=0, left=0, bottom=400, right=200)
right = dict(type="CropRegion", top=0, left=200, bottom=400, right=400)
train_pipeline = [
    load,
    dict(type="LoadMarkedPixels"),
    left,
    dict(type="RandomCrop", crop_size=(64, 64)),
    dict(type="RandomRotFlip", rotate_prob=0.0, flip_prob=1.0),
    dict(type="RandomFlip", prob=0.5),
    dict(type="RandomDateSwap", prob=0.5),
    dict(type="EachDate", transforms=[dict(type="BandPhotometricDistortion")]),
    dict(type="PackSegInputs"),
]
test_pipeline = [load, dict(type="LoadMarkedPixels"), right, dict(type="PackSegInputs")]
tta_pipeline = [
    *test_pipeline[:-1],
    dict(
        type="TestTimeAug",
        transforms=[
            [dict(type="RandomDateSwap", prob=0.0), dict(type="RandomDateSwap", prob=1.0)],
            [dict(type="PackSegInputs")],
        ],
    ),
]
train_dataloader = dict(
    num_workers=1,
    dataset=dict(
        _delete_=True,
        type="RepeatDataset",
        times=64,  # windows an epoch
        dataset=dict(**pair, pipeline=train_pipeline),
    ),
)
val_dataloader = dict(
    num_workers=1,
    dataset=dict(_delete_=True, **pair, pipeline=test_pipeline, test_mode=True),
)
test_dataloader = val_dataloader
