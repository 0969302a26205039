# Airports in crops of 256 pixels for training, whole images of 600 for the test: no detail of the
# small planes is lost, and a CPU keeps up. Crops without planes are kept.
_base_ = "airplanes.py"
as_stored = dict(type="Resize", scale_factor=1.0, keep_ratio=True)
train_pipeline = _base_.train_pipeline
train_pipeline[2] = dict(type="RandomCrop", crop_size=(256, 256), allow_negative_crop=True)
test_pipeline = _base_.test_pipeline
test_pipeline[1] = as_stored
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].transforms[0] = [as_stored]
train_dataloader = dict(num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=1, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
