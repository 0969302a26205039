# The published recipe: AdamW 1e-3, batch 8, 200 epochs. Of our choice: linear decay, as the paper
# of BIT has it, five epochs of warm-up, and a weight decay of 0.01.
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.01),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=True, end=5, convert_to_iter_based=True),
    dict(type="PolyLR", power=1.0, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=200, val_interval=5)
auto_scale_lr = dict(base_batch_size=8)
