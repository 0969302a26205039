# BIT, ResNet-18, generated scenes at two dates, 128 pixels.
# Data:      python tools/make_scenes.py --task change_detection
# Command:   python tools/train.py configs/change_detection/bit_resnet18_scenes.py \
#                --backbone BACKBONE
# Time:      5 minutes of one core with 320 + 64 scenes; F1 0.42 from random weights
_base_ = [
    "_base_/models/bit_resnet18.py",
    "_base_/datasets/scenes.py",
    "_base_/schedules/small.py",
    "_base_/runtime.py",
]
model = dict(data_preprocessor=dict(size=(64, 64)))
