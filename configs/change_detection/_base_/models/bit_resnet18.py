# The bitemporal image transformer on a ResNet-18, for CPUs.
_base_ = "bit_resnet50.py"
model = dict(
    backbone=dict(name="random:resnet18"),
    decode_head=dict(in_channels=[64, 128, 256, 512]),
)
