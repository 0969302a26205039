_base_ = "coco.py"
data = dict(data_root="data/airplanes", metainfo=dict(classes=("airplane",)))
train_dataloader = dict(dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = val_dataloader
