# UPerNet on feature differences, ResNet-50, LEVIR-CD: buildings, tiles of 256 pixels.
# Command:   python tools/train.py configs/change_detection/upernet_resnet50_levir.py \
#                --backbone BACKBONE
# Data:      python -m benchmarks.change_detection.tiling DOWNLOAD/train data/levir_cd/train
#            and the same for val and test: 7,120, 1,024 and 2,048 pairs of 256 pixels
# Hardware:  meant for one GPU of 24 GB; not run in full here.
_base_ = [
    "_base_/models/upernet_resnet50.py",
    "_base_/datasets/levir.py",
    "_base_/schedules/adamw_200_epochs.py",
    "_base_/runtime.py",
]
