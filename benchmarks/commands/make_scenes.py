"""Write generated scenes with their labels, as a benchmark's data lies on disk.

python tools/make_scenes.py --task segmentation        what configs/segmentation/*_scenes.py reads
python tools/make_scenes.py --task detection --out DIR --train 500 --val 100 --size 256
python tools/make_scenes.py --task geotiff --size 4096 --crs EPSG:32648

classification       train/<class>/*.png, val/<class>/*.png
segmentation         img_dir/{train,val}, ann_dir/{train,val}
detection            train/, val/, train.json, val.json (COCO)
oriented_detection   {train,val}/images, {train,val}/labelTxt (DOTA)
change_detection     {train,val}/{A,B,label}
geotiff              one large scene: first.tif, second.tif, labels.tif, change.tif, and tiles of
                     its upper quarter as for segmentation, of both dates and what has changed
"""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from benchmarks.suite.tasks import SCENE_WRITERS
from cmid.command_line import command
from cmid.options import at_least, option

WHOLE = "geotiff"


@dataclass(frozen=True)
class ScenesConfig:
    """Generated scenes on disk.

    Attributes:
        task: whose layout and labels.
        out: folder (default: runs/scenes/TASK).
        train: scenes to train on.
        val: scenes to validate on.
        size: pixels per side (default: the task's).
        seed: other scenes for another one.
        bands: 3, or more with infrared, as GeoTIFF; for all but classification (default of geotiff:
            4, of others: 3).
        crs: reference system of geotiff.
    """

    task: str = option(choices=[*SCENE_WRITERS, WHOLE])
    out: Path | None = None
    train: Annotated[int, at_least(1)] = 400
    val: Annotated[int, at_least(1)] = 100
    size: Annotated[int, at_least(1)] | None = None
    seed: int = 0
    bands: int | None = None
    crs: str = "EPSG:32633"

    def __post_init__(self) -> None:
        if self.bands is not None and self.task == "classification":
            raise ValueError("--bands does not go with the task classification")


@command(ScenesConfig, memory="--size")
def main(config: ScenesConfig) -> None:
    """Write the scenes of a task."""
    if config.task == WHOLE:
        from benchmarks.segmentation.whole_scene import write_whole_scene

        out = config.out or Path("runs/scenes") / WHOLE
        size, bands = config.size or 4096, config.bands or 4
        tiles = write_whole_scene(out, size=size, bands=bands, seed=config.seed, crs=config.crs)
        print(f"wrote a scene of {size} x {size} pixels, and {tiles} tiles of it, to {out}")
        return
    # What the task's configuration is made for.
    size = 64 if config.task == "classification" else 128
    out = config.out or Path("runs/scenes") / config.task
    pkgutil.resolve_name(SCENE_WRITERS[config.task])(
        out,
        train=config.train,
        val=config.val,
        size=config.size or size,
        seed=config.seed,
        **({} if config.bands is None else {"bands": config.bands}),
    )
    print(f"wrote {config.train} + {config.val} scenes to {out}")
