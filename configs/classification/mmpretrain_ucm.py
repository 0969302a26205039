# UC Merced, 21 classes, 80/20 of each class.
# Command:   python tools/train.py configs/classification/mmpretrain_ucm.py --backbone BACKBONE
# Data:      data/ucm/images/<class>/*, divided as by tools/finetune.py
# Not run in full here: it is made for a GPU.
_base_ = "_base_/mmpretrain.py"
model = dict(data_preprocessor=dict(num_classes=21), head=dict(num_classes=21))
data = dict(root="data/ucm/images", train_share=0.8)
train_dataloader = dict(dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = val_dataloader
