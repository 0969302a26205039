# NWPU-RESISC45, 45 classes, a fifth of each class for training.
# Command:   python tools/train.py configs/classification/mmpretrain_resisc45.py --backbone BACKBONE
# Data:      data/NWPU-RESISC45/<class>/*, divided as by tools/finetune.py
# Not run in full here: it is made for a GPU.
_base_ = "_base_/mmpretrain.py"
model = dict(data_preprocessor=dict(num_classes=45), head=dict(num_classes=45))
data = dict(root="data/NWPU-RESISC45", train_share=0.2)
train_dataloader = dict(dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = val_dataloader
