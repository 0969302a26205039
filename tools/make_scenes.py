#!/usr/bin/env python
"""Write generated scenes with their labels, as a benchmark's data lies on disk.

python tools/make_scenes.py --task segmentation        what configs/segmentation/*_scenes.py reads
python tools/make_scenes.py --task detection --out DIR --train 500 --val 100 --size 256

classification       train/<class>/*.png, val/<class>/*.png
segmentation         img_dir/{train,val}, ann_dir/{train,val}
detection            train/, val/, train.json, val.json (COCO)
oriented_detection   {train,val}/images, {train,val}/labelTxt (DOTA)
change_detection     {train,val}/{A,B,label}
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from cmid.boundary import add_traceback_option, error_boundary

# Where each task's writer is, and pixels per side that its configuration is made for.
WRITERS = {
    "classification": ("benchmarks.classification.scenes", "write_scenes", 64),
    "segmentation": ("benchmarks.segmentation.scenes", "write_scenes", 128),
    "detection": ("benchmarks.detection.scenes", "write_scenes", 128),
    "oriented_detection": ("benchmarks.detection.scenes", "write_oriented_scenes", 128),
    "change_detection": ("benchmarks.change_detection.scenes", "write_scenes", 128),
}
WITH_BANDS = ("segmentation", "change_detection")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--task", required=True, choices=list(WRITERS))
    parser.add_argument("--out", type=Path, help="folder (default: runs/scenes/TASK)")
    parser.add_argument("--train", type=int, default=400, help="scenes (default: %(default)s)")
    parser.add_argument("--val", type=int, default=100, help="scenes (default: %(default)s)")
    parser.add_argument("--size", type=int, help="pixels per side (default: the task's)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--bands",
        type=int,
        help=f"3, or more with infrared, as GeoTIFF; for {' and '.join(WITH_BANDS)}",
    )
    add_traceback_option(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and write."""
    parser = _parser()
    args = parser.parse_args(arguments)
    if min(args.train, args.val) < 1:
        parser.error(f"--train {args.train} and --val {args.val} must be 1 or more")
    options: dict[str, Any] = {}
    if args.bands is not None:
        if args.task not in WITH_BANDS:
            parser.error(f"--bands goes with the tasks {' and '.join(WITH_BANDS)}")
        options["bands"] = args.bands
    module, function, size = WRITERS[args.task]
    out = args.out or Path("runs/scenes") / args.task
    with error_boundary("make_scenes", traceback=args.traceback, memory="--size"):
        write = getattr(import_module(module), function)
        write(
            out,
            train=args.train,
            val=args.val,
            size=args.size or size,
            seed=args.seed,
            **options,
        )
    print(f"wrote {args.train} + {args.val} scenes to {out}")


if __name__ == "__main__":
    main()
