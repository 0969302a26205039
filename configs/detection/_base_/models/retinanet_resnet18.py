# A small one for images of about 128 pixels, which learns from random weights, too; its finest map
# has stride 4.
_base_ = "retinanet_resnet50.py"
model = dict(
    backbone=dict(name="random:resnet18", frozen_stages=-1, norm_eval=False),
    neck=dict(in_channels=[64, 128, 256, 512], out_channels=64, start_level=0),
    bbox_head=dict(
        in_channels=64,
        feat_channels=64,
        stacked_convs=2,
        norm_cfg=dict(type="GN", num_groups=16),  # without, random weights hardly get going
        anchor_generator=dict(octave_base_scale=2, strides=[4, 8, 16, 32, 64]),
    ),
)
