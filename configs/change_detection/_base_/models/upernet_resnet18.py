# A small UPerNet on the differences of a ResNet-18's maps, for CPUs.
_base_ = "upernet_resnet50.py"
model = dict(
    backbone=dict(name="random:resnet18"),
    decode_head=dict(in_channels=[64, 128, 256, 512], channels=64),
    auxiliary_head=dict(in_channels=256, channels=32),
)
