# What all detection configurations share: hooks, logs, metric.
custom_imports = dict(imports=["benchmarks.openmmlab", "benchmarks.detection"])
default_scope = "mmdet"

default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=20),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="CheckpointHook", interval=1, max_keep_ckpts=2, save_best="coco/bbox_mAP"),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    visualization=dict(type="DrawBoxes"),  # tools/test.py --show_dir switches it on
)
vis_backends = [
    dict(type="LocalVisBackend"),
    dict(type="TensorboardVisBackend"),
    dict(type="CSVVisBackend"),
]
visualizer = dict(type="DetLocalVisualizer", vis_backends=vis_backends)
# Without ann_file the truth is the dataset's own: one place to change, and its order of classes.
val_evaluator = dict(type="CocoMetric", metric="bbox", classwise=True)
test_evaluator = val_evaluator
val_cfg = dict()
test_cfg = dict()

env_cfg = dict(
    cudnn_benchmark=False,  # sizes of images differ
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),
)
log_level = "INFO"
