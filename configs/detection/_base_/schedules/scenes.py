# Eight short epochs that random weights learn from, too.
_base_ = "adamw.py"
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=False, end=50),
    dict(type="CosineAnnealingLR", by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=8, val_interval=4)
auto_scale_lr = dict(base_batch_size=8)
