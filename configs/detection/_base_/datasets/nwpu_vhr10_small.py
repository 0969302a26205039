# Longer sides of 320 pixels in place of 640, for CPUs.
_base_ = "nwpu_vhr10.py"
smaller = dict(type="Resize", scale=(320, 320), keep_ratio=True)
train_pipeline = _base_.train_pipeline
train_pipeline[2] = smaller
test_pipeline = _base_.test_pipeline
test_pipeline[1] = smaller
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].transforms[0] = [smaller]
train_dataloader = dict(num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=1, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
