# BIT, ResNet-50, DSIFN: six Chinese cities, 512 pixels; crops of 256.
# Command:   python tools/train.py configs/change_detection/bit_resnet50_dsifn.py \
#                --backbone BACKBONE
# Data:      data/dsifn/{train,val,test}/{t1,t2,mask} as in the download: 3,600, 340 and 48 pairs
# Hardware:  meant for one GPU of 24 GB; not run in full here.
_base_ = [
    "_base_/models/bit_resnet50.py",
    "_base_/datasets/dsifn.py",
    "_base_/schedules/adamw_200_epochs.py",
    "_base_/runtime.py",
]
