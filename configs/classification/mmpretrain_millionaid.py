# MillionAID, its 10,000 labelled images, 51 classes.
# Command:   python tools/train.py configs/classification/mmpretrain_millionaid.py --backbone EXPORT
# Data:      data/millionaid/train/<class>/*, divided as by tools/finetune.py
# Not run in full here: it is made for a GPU.
_base_ = "_base_/mmpretrain.py"
model = dict(data_preprocessor=dict(num_classes=51), head=dict(num_classes=51))
data = dict(root="data/millionaid/train", train_share=0.9)
train_dataloader = dict(dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = val_dataloader
