# BIT, ResNet-18, generated scenes at two dates, 128 pixels.
# Data:      python tools/make_scenes.py --task change_detection
# Command:   python tools/train.py configs/change_detection/bit_resnet18_scenes.py \
#                --backbone BACKBONE
# Time:      3 minutes of one core for 5 epochs with 400 + 100 scenes; F1 0.45 with CMID (an epoch
#            of EuroSAT), 0.42 from random weights
_base_ = [
    "_base_/models/bit_resnet18.py",
    "_base_/datasets/scenes.py",
    "_base_/schedules/small.py",
    "_base_/runtime.py",
]
model = dict(
    data_preprocessor=dict(size=(64, 64)),
    # Changes cover 6 % of the pixels; unweighted, the first hundreds of steps may predict none.
    decode_head=dict(
        loss_decode=[
            dict(type="CrossEntropyLoss", class_weight=[1.0, 3.0]),
            dict(type="BatchDiceLoss"),
        ]
    ),
)
