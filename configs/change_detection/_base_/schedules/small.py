# For small models on few pairs: AdamW, 20 steps of warm-up, linear decay.
_base_ = "adamw_200_epochs.py"
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=False, end=20),
    dict(type="PolyLR", power=1.0, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=12, val_interval=3)
