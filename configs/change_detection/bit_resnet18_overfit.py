# BIT, ResNet-18, 14 real pairs, on which it is tested, too: it has to reach F1 > 0.9 there, or
# something is wrong.
# Command:   python tools/train.py configs/change_detection/bit_resnet18_overfit.py \
#                --backbone BACKBONE
# Data:      data/change/{levir,dsifn}/{A,B,label}/*.png
# Time:      3 minutes of one core; F1 0.91 with CMID (an epoch of EuroSAT), 0.92
#            from random weights
_base_ = [
    "_base_/models/bit_resnet18.py",
    "_base_/datasets/overfit.py",
    "_base_/schedules/small.py",
    "_base_/runtime.py",
]
model = dict(data_preprocessor=dict(size=(128, 128)))
train_dataloader = dict(batch_size=7)
train_cfg = dict(max_epochs=40, val_interval=10)
