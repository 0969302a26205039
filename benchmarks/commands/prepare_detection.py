"""Prepare detection data: DOTA's images as tiles, or DIOR's XML files in COCO's form.

    python tools/prepare_detection.py dota data/dota/train data/dota_tiles/train
    python tools/prepare_detection.py dior data/dior

Counts are printed: whoever has the same ones has the same data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cmid.boundary import error_boundary
from cmid.command_line import choose, parse
from cmid.options import at_least


@dataclass(frozen=True)
class TilesConfig:
    """DOTA's images, cut into tiles.

    Attributes:
        root: folder that holds images/ and, but for a test part, labelTxt/.
        out: new folder for images/ and labelTxt/ of the tiles.
        size: side of a tile in pixels.
        gap: overlap of tiles in pixels.
        scales: 0.5 1 1.5 also cuts tiles of twice and two thirds of the size (default: 1).
        min_inside: a tile keeps objects that lie in it to this share (default: 0.7); those that its
            border cuts get difficulty 2.
        any_class: classes other than those of DOTA-v1.0, too.
        workers: threads.
    """

    root: Path
    out: Path
    size: Annotated[int, at_least(1)] = 1024
    gap: Annotated[int, at_least(0)] = 200
    scales: tuple[float, ...] = (1.0,)
    min_inside: float = 0.7
    any_class: bool = False
    workers: Annotated[int, at_least(1)] = 4


@dataclass(frozen=True)
class DIORConfig:
    """DIOR, DIOR-R, or both in one folder.

    Attributes:
        root: folder that holds Annotations/.
        out: new folder for the JSON files (default: ROOT/coco).
    """

    root: Path
    out: Path | None = None


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and prepare the data."""
    forms = {"dota": "tiles of DOTA", "dior": "COCO files of DIOR or DIOR-R"}
    data, left = choose(forms, arguments, verb="prepare_detection", description=__doc__)
    config, traceback = parse(
        TilesConfig if data == "dota" else DIORConfig,
        arguments=left,
        verb=f"prepare_detection {data}",
        description=__doc__,
    )
    with error_boundary(traceback=traceback, memory="--workers"):
        if isinstance(config, TilesConfig):
            print(_cut(config))
        else:
            from benchmarks.detection.dior import convert_dior

            for name, counts in convert_dior(
                config.root, config.out or config.root / "coco"
            ).items():
                print(f"{name}: {counts}")


def _cut(config: TilesConfig) -> str:
    from benchmarks.detection.tiling import TilingConfig, split_folder
    from cmid.data.dota import DOTA_CLASSES

    labels = config.root / "labelTxt"
    counts = split_folder(
        config.root / "images",
        labels if labels.is_dir() else None,
        config.out,
        tiling=TilingConfig(config.size, config.gap, config.scales, config.min_inside),
        classes=None if config.any_class else DOTA_CLASSES,
        workers=config.workers,
    )
    return str(counts)
