# A small one for images of about 128 pixels, which learns from random weights, too.
_base_ = "faster_rcnn_resnet50.py"
model = dict(
    backbone=dict(name="random:resnet18", frozen_stages=-1, norm_eval=False),
    neck=dict(in_channels=[64, 128, 256, 512], out_channels=64),
    rpn_head=dict(in_channels=64, feat_channels=64, anchor_generator=dict(scales=[2])),
    roi_head=dict(
        # Boxes below 48 pixels are read from the finest map.
        bbox_roi_extractor=dict(out_channels=64, finest_scale=24),
        bbox_head=dict(in_channels=64, fc_out_channels=256),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=500, max_per_img=200),
        rcnn=dict(sampler=dict(num=128)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=200)),
)
