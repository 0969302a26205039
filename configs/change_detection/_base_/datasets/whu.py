# WHU-CD.
_base_ = "pairs.py"
train_dataloader = dict(dataset=dict(data_root="data/whu_cd/train"))
val_dataloader = dict(dataset=dict(data_root="data/whu_cd/val"))
test_dataloader = dict(dataset=dict(data_root="data/whu_cd/test"))
