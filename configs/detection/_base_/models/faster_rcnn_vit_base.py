# A plain ViT's map becomes a pyramid of strides 4, 8, 16 and 32 in CMIDBackbone.
_base_ = "faster_rcnn_resnet50.py"
model = dict(
    backbone=dict(
        name="random:vit_base_patch16_224",
        frozen_stages=-1,
        norm_eval=False,
        drop_path_rate=0.1,
        with_cp=True,
    ),
    neck=dict(in_channels=[768, 768, 768, 768]),
)
