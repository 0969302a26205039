#!/usr/bin/env python
"""Fine-tune one or several backbones on all downstream tasks, and compare them in one report.

    python tools/benchmark.py --backbone runs/NAME/backbone --suite scenes --out runs/benchmark

The last column is the first backbone's architecture from random weights, on the same schedule.
Finished runs in --out are kept and interrupted ones go on. Writes report.md and report.html (with
painted predictions). Needs the extra openmmlab (make openmmlab).
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from cmid.boundary import add_traceback_option, error_boundary


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--backbone", nargs="+", required=True, help="what tools/train.py takes; one or several"
    )
    parser.add_argument(
        "--suite", choices=["scenes", "real"], default="scenes", help="default: %(default)s"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")
    parser.add_argument("--tasks", nargs="+", metavar="TASK", help="some of the suite's tasks")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="overrides of every configuration",
    )
    add_traceback_option(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, run what is missing, write the report."""
    args = _parser().parse_args(arguments)
    command = shlex.join(["python", "tools/benchmark.py", *(arguments or sys.argv[1:])])
    with error_boundary(
        "benchmark",
        traceback=args.traceback,
        memory="--cfg-options train_dataloader.batch_size=N, or recompute activations with"
        " model.backbone.with_cp=True there",
        again="the same command goes on; finished runs are kept",
    ):
        from benchmarks.suite.command import run_suite

        print(
            run_suite(
                args.backbone,
                suite=args.suite,
                out=args.out.absolute(),
                names=args.tasks,
                seeds=args.seeds,
                options=args.cfg_options,
                command=command,
            )
        )


if __name__ == "__main__":
    main()
