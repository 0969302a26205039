# BIT, ResNet-50, CDD: season-varying images, 256 pixels.
# Command:   python tools/train.py configs/change_detection/bit_resnet50_cdd.py \
#                --backbone BACKBONE
# Data:      data/cdd/{train,val,test}/{A,B,OUT}/*.jpg: "Real/subset" of the download; 10,000, 3,000
#            and 3,000 pairs
# Hardware:  meant for one GPU of 24 GB; not run in full here.
# Published: 96.95 F1 with CMID.
_base_ = [
    "_base_/models/bit_resnet50.py",
    "_base_/datasets/cdd.py",
    "_base_/schedules/adamw_200_epochs.py",
    "_base_/runtime.py",
]
