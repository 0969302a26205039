# AID, 30 classes, half of each class for training.
# Command:   python tools/train.py configs/classification/mmpretrain_aid.py --backbone BACKBONE
# Data:      data/aid/<class>/*, divided as by tools/finetune.py
# Not run in full here: it is made for a GPU.
_base_ = "_base_/mmpretrain.py"
model = dict(data_preprocessor=dict(num_classes=30), head=dict(num_classes=30))
data = dict(root="data/aid", train_share=0.5)
train_dataloader = dict(dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = val_dataloader
