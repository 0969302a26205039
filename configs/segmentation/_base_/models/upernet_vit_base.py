# UPerNet on ViT-B/16, with a pyramid of strides 4 to 32 from its blocks 3, 6, 9 and 12.
_base_ = "upernet_resnet50.py"
model = dict(
    backbone=dict(name="random:vit_base_patch16_224", img_size=512, drop_path_rate=0.1),
    decode_head=dict(in_channels=[768, 768, 768, 768]),
    auxiliary_head=dict(in_channels=768),
)
