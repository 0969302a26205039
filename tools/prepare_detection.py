#!/usr/bin/env python
"""Prepare detection data: cut DOTA's images into tiles, or turn DIOR's XML files into COCO's form.

    python tools/prepare_detection.py dota data/dota/train data/dota_tiles/train
    python tools/prepare_detection.py dior data/dior

Counts are printed: whoever has the same ones has the same data.
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
    data = parser.add_subparsers(dest="data", required=True)
    dota = data.add_parser("dota", help="images/ and, but for a test part, labelTxt/")
    dota.add_argument("root", type=Path, help="folder that holds images/ and labelTxt/")
    dota.add_argument("out", type=Path, help="new folder for images/ and labelTxt/ of the tiles")
    dota.add_argument("--size", type=int, default=1024, help="side of a tile (default: 1024)")
    dota.add_argument("--gap", type=int, default=200, help="overlap of tiles (default: 200)")
    dota.add_argument(
        "--scales",
        type=float,
        nargs="+",
        default=[1.0],
        help="0.5 1 1.5 also cuts tiles of twice and two thirds of the size",
    )
    dota.add_argument(
        "--min-inside",
        type=float,
        default=0.7,
        help="a tile keeps objects that lie in it to this share (default: 0.7); those that its"
        " border cuts get difficulty 2",
    )
    dota.add_argument(
        "--any-class", action="store_true", help="classes other than those of DOTA-v1.0, too"
    )
    dota.add_argument("--workers", type=int, default=4, help="threads (default: 4)")
    dior = data.add_parser("dior", help="DIOR, DIOR-R, or both in one folder")
    dior.add_argument("root", type=Path, help="folder that holds Annotations/")
    dior.add_argument("--out", type=Path, help="new folder for the JSON files (default: ROOT/coco)")
    add_traceback_option(parser, dota, dior)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and prepare the data."""
    args = _parser().parse_args(arguments)
    with error_boundary("prepare_detection", traceback=args.traceback, memory="--workers"):
        if args.data == "dota":
            from benchmarks.detection.dota import DOTA_CLASSES
            from benchmarks.detection.tiling import Tiling, split_folder

            labels = args.root / "labelTxt"
            counts = split_folder(
                args.root / "images",
                labels if labels.is_dir() else None,
                args.out,
                tiling=Tiling(args.size, args.gap, tuple(args.scales), args.min_inside),
                classes=None if args.any_class else DOTA_CLASSES,
                workers=args.workers,
            )
            print(counts)
        else:
            from benchmarks.detection.dior import convert_dior

            for name, counts in convert_dior(args.root, args.out or args.root / "coco").items():
                print(f"{name}: {counts}")


if __name__ == "__main__":
    main()
