_base_ = "retinanet_resnet50.py"
model = dict(
    backbone=dict(
        name="random:swin_base_patch4_window7_224",
        frozen_stages=-1,
        norm_eval=False,
        drop_path_rate=0.3,
    ),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
