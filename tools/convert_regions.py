#!/usr/bin/env python
"""Turn detection annotations into region texts: JSON in the form of MGRS-200k.

    python tools/convert_regions.py --coco train.json --images train --out train_texts.json
    python tools/convert_regions.py --dota data/dota --out dota_texts.json

Every object becomes a region with its category and, where one is true of it alone, a phrase ("the
largest ship"); every image gets captions that tell counts and places. Images without objects are
left out and counted. Read the result with

    source:
      class_path: cmid.vision_language.data.RegionTexts
      init_args: {path: OUT, root: IMAGES}
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
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--coco", type=Path, metavar="FILE", help="annotations in COCO's form")
    data.add_argument(
        "--dota",
        type=Path,
        metavar="DIR",
        help="folder with images/ and labelTxt/ (also of DIOR-R)",
    )
    parser.add_argument(
        "--images", type=Path, help="folder of the images (default: that of FILE; DIR/images)"
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--seed", type=int, default=0, help="of the wording (default: 0)")
    parser.add_argument(
        "--on-error",
        choices=("error", "skip"),
        default="error",
        help="a faulty image or box: stop, or count and leave out (default: error)",
    )
    add_traceback_option(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and convert."""
    args = _parser().parse_args(arguments)
    with error_boundary(
        "convert_regions",
        traceback=args.traceback,
        memory="the number of annotations",
        skip="--on-error skip",
    ):
        from tqdm import tqdm

        from cmid.vision_language.data.coco import read_coco
        from cmid.vision_language.data.conversion import existing_images, write_region_texts
        from cmid.vision_language.data.problems import Problems

        problems = Problems(args.coco or args.dota, args.on_error)
        try:
            if args.coco:
                folder = args.images or args.coco.parent
                images = read_coco(args.coco, problems)
            else:
                from benchmarks.vision_language.dota import read_dota

                folder = args.images or args.dota / "images"
                images = read_dota(folder, args.dota / "labelTxt", problems)
            present = existing_images(images, folder, problems)
            counts = write_region_texts(tqdm(present, unit="image"), args.out, seed=args.seed)
        finally:
            problems.report()  # what was skipped may be why nothing is left
    print(f"{args.out}: {counts}")


if __name__ == "__main__":
    main()
