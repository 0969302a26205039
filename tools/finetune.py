#!/usr/bin/env python
"""Fine-tune a backbone for scene classification; without a configuration, on generated scenes."""

from __future__ import annotations

import sys
from pathlib import Path

from cmid.launch import launch

DEFAULT = Path(__file__).resolve().parents[1] / "configs/classification/scenes.yaml"

HELP = """\
usage: python tools/finetune.py --model.backbone BACKBONE [--config FILE] [--FIELD VALUE ...]

Fine-tune a backbone, or train a classifier on its frozen features, and test it: overall and
per-class accuracy, macro F1, a picture of the confusions. Without --config: generated scenes.

  --model.backbone B  exported folder, checkpoint (.ckpt), random:NAME, or a timm name
  --config FILE       a configuration, such as configs/classification/*.yaml
  --data.root DIR     train/ and test/ (or val/) with a folder a class; one folder that is divided;
                      a list (train.txt) with --data.test test.txt
  --model.frozen true                      linear classifier on frozen features
  --model.layer_decay 0.75                 for transformers
  --model.regularisation.{mixup,cutmix,smoothing,erasing,drop_path}
  --model.optimizer.{name,base_lr,weight_decay,warmup_epochs}    lr = base_lr * global batch / 256
  --data.{size,batch_size,num_workers,train_share,augment}
  --trainer.max_epochs N  --trainer.devices N  --trainer.strategy ddp  --trainer.precision P
  --run_dir DIR       where everything goes; a DIR with checkpoints is left alone: DIR-2 is used
  --ckpt_path last    go on with the last checkpoint of --run_dir; FILE goes on in the run folder
                      that FILE lies in, or in --run_dir where you give that, too
  --wandb PROJECT     log to Weights & Biases too (CSV and TensorBoard are always there)
  --print_config      print the whole configuration, and stop
  --help_all          every field with its type and meaning (takes some seconds)
  --traceback         show where an error comes from, instead of its one line
"""

if __name__ == "__main__":
    launch(
        sys.argv[1:] or ["--help"],
        command="benchmarks.classification.command:finetune",
        default=DEFAULT,
        usage=HELP,
    )
