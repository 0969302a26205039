# Generated scenes as they are, in batches of 8; some have no objects.
_base_ = "dota.py"
classes = ("building", "ship", "plane", "storage-tank", "vehicle")
as_stored = dict(type="Resize", scale_factor=1.0, keep_ratio=True, clip_object_border=False)
train_pipeline = _base_.train_pipeline
train_pipeline[3] = as_stored
test_pipeline = _base_.test_pipeline
test_pipeline[1] = as_stored

data = dict(data_root="runs/scenes/oriented_detection", metainfo=dict(classes=classes))
train_dataloader = dict(batch_size=8, num_workers=1, dataset=dict(pipeline=train_pipeline, **data))
val_dataloader = dict(batch_size=8, num_workers=1, dataset=dict(pipeline=test_pipeline, **data))
test_dataloader = val_dataloader
