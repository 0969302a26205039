# DSIFN-CD, with the folders as published.
_base_ = "pairs.py"
folders = ("t1", "t2", "mask")
train_dataloader = dict(dataset=dict(data_root="data/dsifn/train", folders=folders))
val_dataloader = dict(dataset=dict(data_root="data/dsifn/val", folders=folders))
test_dataloader = dict(dataset=dict(data_root="data/dsifn/test", folders=folders))
