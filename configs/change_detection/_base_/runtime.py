# What all change detection configurations share: hooks, logs, scores, test-time augmentation.
custom_imports = dict(imports=["benchmarks.openmmlab", "benchmarks.change_detection"])
default_scope = "mmseg"

default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=20),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(
        type="CheckpointHook",
        interval=1,
        max_keep_ckpts=2,
        save_best="change/f1",
        rule="greater",
    ),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    visualization=dict(type="PaintChanges"),  # tools/test.py --show_dir switches it on
)
vis_backends = [
    dict(type="LocalVisBackend"),
    dict(type="TensorboardVisBackend"),
    dict(type="CSVVisBackend"),
]
visualizer = dict(type="SegLocalVisualizer", vis_backends=vis_backends)
val_evaluator = dict(type="ChangeMetric")
test_evaluator = val_evaluator
val_cfg = dict()
test_cfg = dict()

tta_model = dict(type="SegTTAModel")

sync_bn = "torch"  # BatchNorm over all processes; a single one keeps it plain, on a CPU too
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),
)
log_level = "INFO"
