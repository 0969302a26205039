#!/usr/bin/env python
"""Prepare Potsdam, Vaihingen, LoveDA or iSAID for segmentation: img_dir and ann_dir.

python tools/prepare_segmentation.py potsdam   DOWNLOADS data/potsdam
python tools/prepare_segmentation.py vaihingen DOWNLOADS data/vaihingen
python tools/prepare_segmentation.py loveda    DOWNLOADS data/loveda
python tools/prepare_segmentation.py isaid     DOWNLOADS data/isaid

DOWNLOADS holds the archives of the authors, unpacked: 2_Ortho_RGB and 5_Labels_all_noBoundary of
Potsdam; top/ and the eroded COMPLETE ground truth of Vaihingen; Train, Val, Test of LoveDA; train
and val, each with images and Semantic_masks, of iSAID. Other files there do no harm.

ISPRS images are cut to 512 pixels without overlap, those of iSAID to 896 pixels every 512, as by
mmsegmentation's converters. Masks of colours become masks of labels: ISPRS and LoveDA from 1, with
0 for pixels to ignore; iSAID from 0, with 255. Clutter and background are kept: configurations say
whether they count (those of Potsdam and Vaihingen ignore clutter), or --ignore drops them for good.

Ends with the number of tiles, the pixels of each class and a SHA-256 of all pixels, also in
OUT/data.json. A second call goes on where the first one stopped.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from cmid.boundary import add_traceback_option, error_boundary


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", choices=["potsdam", "vaihingen", "loveda", "isaid"])
    parser.add_argument("downloads", help="folder with the unpacked archives")
    parser.add_argument("out", help="folder to write")
    parser.add_argument("--size", type=int, help="of tiles, in pixels")
    parser.add_argument("--stride", type=int, help="between tiles (default: as usual, or the size)")
    parser.add_argument(
        "--labels", choices=["eroded", "full"], default="eroded", help="masks of ISPRS"
    )
    parser.add_argument(
        "--composite", choices=["RGB", "IRRG", "RGBIR"], default="RGB", help="images of Potsdam"
    )
    parser.add_argument(
        "--unknown",
        choices=["error", "ignore", "nearest"],
        default="error",
        help="colours that no class has",
    )
    parser.add_argument(
        "--ignore", nargs="+", default=[], metavar="CLASS", help="ignore their pixels"
    )
    parser.add_argument(
        "--without", nargs="+", default=[], metavar="IMAGE", help="leave out, such as 7_10"
    )
    parser.add_argument("--workers", type=int, default=4, help="processes (default: 4)")
    add_traceback_option(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, prepare, print what came out."""
    args = vars(_parser().parse_args(arguments))
    traceback = args.pop("traceback")
    downloads, out, workers = (args.pop(name) for name in ("downloads", "out", "workers"))
    args.update(ignore=tuple(args["ignore"]), without=tuple(args["without"]))

    with error_boundary(
        "prepare_segmentation",
        traceback=traceback,
        memory="--workers",
        again="the same command goes on where it stopped",
    ):
        from benchmarks.segmentation.preparation import Preparation, prepare, report

        job = Preparation(**args)
        print(*report(job, prepare(job, downloads, out, workers=workers)), sep="\n")


if __name__ == "__main__":
    main()
