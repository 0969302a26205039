# BIT, ResNet-50, WHU-CD: buildings, 0.2 m, tiles of 256 pixels.
# Command:   python tools/train.py configs/change_detection/bit_resnet50_whu.py \
#                --backbone BACKBONE
# Data:      one pair of 32,507 x 15,354 pixels. Lay both dates and the label as
#            FOLDER/{A,B,label}/whu.tif, then
#                python -m benchmarks.change_detection.tiling FOLDER data/whu_cd \
#                    --split train=0.8 val=0.1 test=0.1
# Hardware:  meant for one GPU of 24 GB; not run in full here.
_base_ = [
    "_base_/models/bit_resnet50.py",
    "_base_/datasets/whu.py",
    "_base_/schedules/adamw_200_epochs.py",
    "_base_/runtime.py",
]
