"""Pretrain a backbone, with CMID unless --model.class_path names another method.

usage: python tools/pretrain.py [--config FILE] [--ckpt_path last] [--FIELD VALUE ...]

Without --config: resnet18 on generated scenes, 64 pixels, about three minutes on two cores.
Checkpoints, logs, pictures and the exported backbone go to --run_dir.

@RUN configs/pretrain/*.yaml@

Frequent fields (each key of a configuration file is an option of the same name)
  --data.source.class_path ImageFolder --data.source.init_args.root DIR     your own images
  --data.source.class_path RasterWindows --data.source.init_args.paths DIR  your own GeoTIFFs
  --data.statistics FILE                   of tools/compute_stats.py, for other than 8-bit RGB
  --data.batch_size N                      images per process; lr = base_lr * global batch / 256
  --data.num_workers N                     processes that read images (-1: one per core)
  --data.on_error skip                     count unreadable images instead of stopping
  --data.views.init_args.size N            view size in pixels
  --model.class_path benchmarks.baselines.SimCLR    another method, or your_module.YourMethod
  --model.backbone NAME                    any timm model with spatial output
  --model.weights.{reconstruction,contrastive,local} W   0 leaves a loss out
  --model.agreement moco|byol              global branch
  --model.optimizer.{name,base_lr,weight_decay,warmup_epochs}
  --model.compile none|blocks|whole        torch.compile
  --trainer.max_epochs N  --trainer.devices N  --trainer.strategy ddp|fsdp
  --trainer.precision 32-true|bf16-mixed|16-mixed        default: bf16 where hardware has it
  --trainer.accumulate_grad_batches N  --trainer.gradient_clip_val X
  --knn.every_n_epochs N                   online kNN on data.knn_train / data.knn_val
  --checkpoints.every_n_steps N  --checkpoints.keep K

The configuration used by default:

@DEFAULT@
"""

from __future__ import annotations

from functools import partial

from cmid.launch import launch

main = partial(
    launch,
    command="cmid.pretraining:pretrain",
    default="configs/pretrain/cmid_resnet18_scenes.yaml",
    usage=__doc__,
)
