# The bitemporal image transformer on Swin-B, window 7.
_base_ = "bit_resnet50.py"
model = dict(
    backbone=dict(name="random:swin_base_patch4_window7_224", img_size=256, drop_path_rate=0.3),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
)
