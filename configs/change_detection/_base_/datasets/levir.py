# LEVIR-CD.
_base_ = "pairs.py"
train_dataloader = dict(dataset=dict(data_root="data/levir_cd/train"))
val_dataloader = dict(dataset=dict(data_root="data/levir_cd/val"))
test_dataloader = dict(dataset=dict(data_root="data/levir_cd/test"))
