# EuroSAT RGB, 10 classes, 64 pixels.
# Command:   python tools/train.py configs/classification/mmpretrain_eurosat.py --backbone BACKBONE
# Data:      data/eurosat/{train,val}/<class>/*.jpg
# Not run in full here: it is made for a GPU.
_base_ = "_base_/mmpretrain_64.py"
model = dict(data_preprocessor=dict(num_classes=10), head=dict(num_classes=10))
data = dict(root="data/eurosat")
train_dataloader = dict(dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = val_dataloader
