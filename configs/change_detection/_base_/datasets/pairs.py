# Pairs with labels: crops of 256 pixels for training, whole images for the test.
train_pipeline = [
    dict(type="LoadPair"),
    dict(type="LoadChangeLabel"),
    dict(type="RandomCrop", crop_size=(256, 256)),
    dict(type="RandomRotFlip", rotate_prob=0.0, flip_prob=1.0),  # with the next line all eight
    dict(type="RandomFlip", prob=0.5),  # symmetries of the square, each as often
    dict(type="RandomDateSwap", prob=0.5),
    dict(type="EachDate", transforms=[dict(type="PhotoMetricDistortion")]),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadPair"),
    dict(type="LoadChangeLabel"),
    dict(type="PackSegInputs"),
]
tta_pipeline = [
    dict(type="LoadPair"),
    dict(
        type="TestTimeAug",
        transforms=[
            [
                dict(type="RandomFlip", prob=0.0),
                dict(type="RandomFlip", prob=1.0, direction="horizontal"),
                dict(type="RandomFlip", prob=1.0, direction="vertical"),
            ],
            [dict(type="RandomDateSwap", prob=0.0), dict(type="RandomDateSwap", prob=1.0)],
            [dict(type="LoadChangeLabel")],
            [dict(type="PackSegInputs")],
        ],
    ),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(type="ChangePairs", data_root="", pipeline=train_pipeline),
    drop_last=True,
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="ChangePairs", data_root="", pipeline=test_pipeline, test_mode=True),
)
test_dataloader = val_dataloader
