"""Train a configuration of OpenMMLab, on a backbone of ours or any other timm backbone.

    python tools/train.py configs/classification/mmpretrain_scenes.py --backbone runs/NAME/backbone
    torchrun --nproc_per_node 4 tools/train.py CONFIG --backbone BACKBONE --launcher pytorch

BACKBONE  an exported folder, hf-hub:OWNER/NAME (one that was uploaded), a checkpoint (.ckpt),
          a published file (.pth, .safetensors),
          random: before one of these (the same network untrained), random:NAME (of timm),
          or a timm name (published weights)

Normalisation and the widths that heads read follow the backbone. Needs the extra openmmlab
(make openmmlab).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cmid.command_line import command
from cmid.evaluation.config import label_count
from cmid.options import option


@dataclass(frozen=True)
class TrainConfig:
    """A training run of OpenMMLab.

    Attributes:
        config: a file of configs/.
        backbone: see above (default: the configuration's).
        work_dir: folder of all outputs (default: work_dirs/CONFIG).
        resume: go on with the newest checkpoint of the work dir, or with this one.
        amp: automatic mixed precision.
        launcher: launcher of distributed training.
        seed: random seed.
        labels: learn from so many images in place of all (of each class, where images have one
            class each), drawn by the seed, in as many steps.
        frozen: keep the backbone as it is, statistics of BatchNorm included.
        deterministic: slower, repeatable on GPUs.
        cfg_options: overrides of the configuration, such as train_cfg.max_epochs=3.
    """

    config: str
    backbone: str | None = None
    work_dir: str | None = None
    resume: str | None = option(None, nargs="?", const="auto", metavar="CHECKPOINT")
    amp: bool = False
    launcher: Literal["none", "pytorch", "slurm", "mpi"] = "none"
    seed: int = 0
    labels: str = option("all", type=label_count, metavar="N")
    frozen: bool = False
    deterministic: bool = False
    cfg_options: tuple[str, ...] = option((), metavar="KEY=VALUE")


@command(
    TrainConfig,
    memory="--cfg_options train_dataloader.batch_size=N, or recompute activations with"
    " model.backbone.with_cp=True there",
    again="the same command with --resume goes on with the newest checkpoint of the work dir",
)
def main(given: TrainConfig) -> None:
    """Train, or go on with a training."""
    from benchmarks.openmmlab.experiment import (
        build_runner,
        freeze_backbone,
        load_config,
        parse_options,
        use_amp,
        use_labels,
    )

    config = load_config(
        given.config,
        backbone=given.backbone,
        options=parse_options(given.cfg_options),
        work_dir=given.work_dir,
    )
    if given.labels != "all":
        use_labels(config, int(given.labels), seed=given.seed)
    if given.frozen:
        freeze_backbone(config)
    config.launcher = given.launcher
    config.randomness = {"seed": given.seed, "deterministic": given.deterministic}
    if given.amp:
        use_amp(config)
    if given.resume is not None:
        config.resume = True
        config.load_from = None if given.resume == "auto" else given.resume
    build_runner(config).train()
