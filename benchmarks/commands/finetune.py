"""Fine-tune a backbone, or train a classifier on its frozen features, and test it.

usage: python tools/finetune.py --model.backbone BACKBONE [--config FILE] [--FIELD VALUE ...]

The test gives overall and per-class accuracy, macro F1, a picture of the confusions. Without
--config: generated scenes.

  --model.backbone B  exported folder, checkpoint (.ckpt), published file (.pth, .safetensors),
                      random: before one of these (untrained), random:NAME, or a timm name
  --data.root DIR     train/ and test/ (or val/) with a folder a class; one folder that is divided;
                      a list (train.txt) with --data.test test.txt
  --model.frozen true                      linear classifier on frozen features
  --model.layer_decay 0.75                 for transformers
  --model.regularisation.{mixup,cutmix,smoothing,erasing,drop_path}
  --model.optimizer.{name,base_lr,weight_decay,warmup_epochs}    lr = base_lr * global batch / 256
  --data.{size,batch_size,num_workers,train_share,augment}
  --trainer.max_epochs N  --trainer.devices N  --trainer.strategy ddp  --trainer.precision P

@RUN configs/classification/*.yaml@
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cmid.launch import launch


def main(arguments: Sequence[str] | None = None) -> None:
    """Answer ``--help``, or fine-tune."""
    given = sys.argv[1:] if arguments is None else [*arguments]
    launch(
        given or ["--help"],
        command="benchmarks.classification.fine_tuning:finetune",
        default="configs/classification/scenes.yaml",
        usage=__doc__,
    )
