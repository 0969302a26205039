# 14 real pairs, seven of LEVIR-CD and seven of DSIFN-CD, for training and test alike; trained at
# half their size of 256 pixels, to be quick.
_base_ = "pairs.py"
halve = dict(type="Resize", scale=(128, 128))
train_steps = [
    dict(type="LoadPair"),
    dict(type="LoadChangeLabel"),
    halve,
    dict(type="PackSegInputs"),
]
test_steps = [
    dict(type="LoadPair"),
    halve,
    dict(type="LoadChangeLabel"),  # of full size, which predictions are enlarged to
    dict(type="PackSegInputs"),
]
names = ("levir", "dsifn")
pairs = [dict(type="ChangePairs", data_root=f"data/change/{name}") for name in names]
train_dataloader = dict(
    num_workers=1,
    dataset=dict(
        _delete_=True,
        type="ConcatDataset",
        datasets=[dict(**pair, pipeline=train_steps) for pair in pairs],
    ),
)
val_dataloader = dict(
    num_workers=1,
    dataset=dict(
        _delete_=True,
        type="ConcatDataset",
        datasets=[dict(**pair, pipeline=test_steps, test_mode=True) for pair in pairs],
    ),
)
test_dataloader = val_dataloader
