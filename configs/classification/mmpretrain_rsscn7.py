# RSSCN7, 7 classes, half of each class for training.
# Command:   python tools/train.py configs/classification/mmpretrain_rsscn7.py --backbone BACKBONE
# Data:      data/rsscn7/<class>/*, divided as by tools/finetune.py
# Not run in full here: it is made for a GPU.
_base_ = "_base_/mmpretrain.py"
model = dict(data_preprocessor=dict(num_classes=7), head=dict(num_classes=7))
data = dict(root="data/rsscn7", train_share=0.5)
train_dataloader = dict(dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = val_dataloader
