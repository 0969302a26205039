# CDD (season-varying), with the folders as published. Its labels are JPEG: not only 0 and 255.
_base_ = "pairs.py"
form = dict(folders=("A", "B", "OUT"), label_threshold=128)
train_dataloader = dict(dataset=dict(data_root="data/cdd/train", **form))
val_dataloader = dict(dataset=dict(data_root="data/cdd/val", **form))
test_dataloader = dict(dataset=dict(data_root="data/cdd/test", **form))
