#!/usr/bin/env python
"""Test what tools/train.py trained.

python tools/test.py configs/classification/mmpretrain_scenes.py work_dirs/NAME/epoch_4.pth
python tools/test.py CONFIG CHECKPOINT --show-dir pictures --tta

The configuration has to be the trained one, with the same --backbone and --cfg-options; the work
dir keeps it written out, and that file serves as CONFIG, too.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from cmid.boundary import add_traceback_option, error_boundary


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config")
    parser.add_argument("checkpoint", help=".pth of the work dir")
    parser.add_argument("--backbone", help="default: the configuration's")
    parser.add_argument("--work-dir", help="for the log (default: work_dirs/CONFIG)")
    parser.add_argument("--show-dir", help="paint every prediction as PNG into this folder")
    parser.add_argument("--tta", action="store_true", help="average over flips and scales")
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none")
    parser.add_argument("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE")
    add_traceback_option(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and test."""
    args = _parser().parse_args(arguments)
    with error_boundary(
        "test", traceback=args.traceback, memory="--cfg-options test_dataloader.batch_size=N"
    ):
        from benchmarks.openmmlab.experiment import (
            build_runner,
            load_config,
            paint,
            parse_options,
            use_tta,
        )

        if not Path(args.checkpoint).is_file():
            raise FileNotFoundError(f"no checkpoint {args.checkpoint}")
        config = load_config(
            args.config,
            backbone=args.backbone,
            options=parse_options(args.cfg_options),
            work_dir=args.work_dir,
        )
        config.launcher = args.launcher
        config.load_from = args.checkpoint
        if args.show_dir:
            paint(config, args.show_dir)
        if args.tta:
            use_tta(config)
        build_runner(config).test()


if __name__ == "__main__":
    main()
