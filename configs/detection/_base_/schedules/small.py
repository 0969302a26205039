# Four epochs over few real images in batches of 2, for CPUs.
_base_ = "scenes.py"
optim_wrapper = dict(optimizer=dict(lr=5e-4))
train_cfg = dict(max_epochs=4, val_interval=4)
auto_scale_lr = dict(base_batch_size=2)
