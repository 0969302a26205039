# Generated scenes, 10 classes, 64 pixels: no files.
# Command:   python tools/train.py configs/classification/mmpretrain_scenes.py --backbone BACKBONE
# Time:      2 minutes of one core for 3 epochs; accuracy 0.456 with CMID (an epoch of EuroSAT),
#            0.462 from random weights
_base_ = "_base_/mmpretrain_64.py"
model = dict(data_preprocessor=dict(num_classes=10), head=dict(num_classes=10))
data = dict(root="scenes", num_scenes=2500)
train_dataloader = dict(batch_size=32, num_workers=1, dataset=data)
val_dataloader = dict(num_workers=1, dataset=data)
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(_delete_=True, type="AdamW", lr=5e-4, weight_decay=0.05))
train_cfg = dict(max_epochs=4, val_interval=1)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=True, end=1, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", by_epoch=True, begin=1, convert_to_iter_based=True),
]
