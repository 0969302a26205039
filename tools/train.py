#!/usr/bin/env python
"""Train a configuration of OpenMMLab, on a backbone of ours or any other timm backbone.

    python tools/train.py configs/classification/mmpretrain_scenes.py --backbone runs/NAME/backbone
    torchrun --nproc_per_node 4 tools/train.py CONFIG --backbone BACKBONE --launcher pytorch

BACKBONE  an exported folder, a checkpoint (.ckpt), random:NAME, or a timm name (published weights)

Normalisation and the widths that heads read follow the backbone. Needs the extra openmmlab
(make openmmlab).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from cmid.boundary import add_traceback_option, error_boundary


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="a file of configs/")
    parser.add_argument("--backbone", help="default: the configuration's")
    parser.add_argument("--work-dir", help="where everything goes (default: work_dirs/CONFIG)")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="go on with the newest checkpoint of the work dir, or with this one",
    )
    parser.add_argument("--amp", action="store_true", help="automatic mixed precision")
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--deterministic", action="store_true", help="slower, repeatable on GPUs")
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="overrides of the configuration, such as train_cfg.max_epochs=3",
    )
    add_traceback_option(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and train."""
    args = _parser().parse_args(arguments)
    with error_boundary(
        "train",
        traceback=args.traceback,
        memory="--cfg-options train_dataloader.batch_size=N, or recompute activations with"
        " model.backbone.with_cp=True there",
        again="the same command with --resume goes on with the newest checkpoint of the work dir",
    ):
        from benchmarks.openmmlab.experiment import build_runner, load_config, parse_options

        config = load_config(
            args.config,
            backbone=args.backbone,
            options=parse_options(args.cfg_options),
            work_dir=args.work_dir,
        )
        config.launcher = args.launcher
        config.randomness = {"seed": args.seed, "deterministic": args.deterministic}
        if args.amp:
            config.optim_wrapper.update(type="AmpOptimWrapper", loss_scale="dynamic")
        if args.resume is not None:
            config.resume = True
            config.load_from = None if args.resume == "auto" else args.resume
        build_runner(config).train()


if __name__ == "__main__":
    main()
