# UPerNet on feature differences, ResNet-18, generated scenes at two dates, 128 pixels.
# Data:      python tools/make_scenes.py --task change_detection
# Command:   python tools/train.py configs/change_detection/upernet_resnet18_scenes.py \
#                --backbone BACKBONE
# Time:      3 minutes of one core with 320 + 64 scenes; F1 0.34 from random weights
_base_ = [
    "_base_/models/upernet_resnet18.py",
    "_base_/datasets/scenes.py",
    "_base_/schedules/small.py",
    "_base_/runtime.py",
]
model = dict(data_preprocessor=dict(size=(64, 64)))
