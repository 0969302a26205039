"""Rasters rewritten so that windows of them are read fast: uncompressed GeoTIFFs in small tiles.

python tools/pack_rasters.py SCENES --out packed --statistics stats.json
python tools/pretrain.py --data.source.class_path RasterWindows --data.source.init_args.paths packed

Values, types, georeferences, scales, masks and texts stay. A run that was interrupted goes on with
the scenes that are missing.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tqdm import tqdm

from cmid.command_line import command
from cmid.options import at_least, option

if TYPE_CHECKING:
    from cmid.data.raster_files import SceneFile


@dataclass(frozen=True)
class PackingConfig:
    """Rasters and what becomes of them.

    Attributes:
        scenes: raster, folder of rasters, or pattern in quotes.
        out: folder of the new files.
        compress: none is the fastest; zstd takes about half the space of 16-bit scenes.
        block: side of the tiles in pixels, a multiple of 16.
        statistics: JSON file for the statistics of the bands, over windows that cover the scenes'
            area.
        window: side of these windows in pixels.
    """

    scenes: str
    out: str = option()
    compress: Literal["none", "zstd"] = "none"
    block: Annotated[int, at_least(16)] = 128
    statistics: str | None = None
    window: Annotated[int, at_least(1)] = 512

    def __post_init__(self) -> None:
        if self.block % 16:
            raise ValueError(f"--block {self.block} is no multiple of 16, which GeoTIFFs ask for")


@command(PackingConfig, memory="--block")
def main(config: PackingConfig) -> None:
    """Rewrite every scene, then measure the bands."""
    from cmid.data import RasterWindows, compute_statistics
    from cmid.data.raster_files import inspect
    from cmid.data.raster_paths import find_rasters, on_disk

    scenes = [inspect(path) for path in find_rasters(config.scenes)]
    files = [on_disk(scene.path).resolve() for scene in scenes]
    root = Path(os.path.commonpath([file.parent for file in files]))
    if Path(config.out).resolve() == root:
        raise FileExistsError(f"{config.out} holds the scenes: choose another folder for --out")
    there = 0
    with tqdm(
        total=sum(scene.height * scene.width for scene in scenes) / 1e6,
        desc="packing",
        unit="megapixel",
        bar_format="{l_bar}{bar}| {n:.0f}/{total:.0f} megapixels [{elapsed}<{remaining}]",
    ) as bar:
        for scene, file in zip(scenes, files, strict=True):
            # The ending stays in the name: a.img and a.tif may lie side by side.
            within = scene.path.rpartition(on_disk(scene.path).name)[2]
            variable = re.sub(r"\W+", "_", within).rstrip("_")
            name = f"{file.name.removesuffix('.tif')}{variable}.tif"
            target = Path(config.out) / file.relative_to(root).with_name(name)
            if target.exists() and target.stat().st_mtime >= file.stat().st_mtime:
                there += 1
            else:
                pack(scene, target, compress=config.compress, block=config.block)
            bar.update(scene.height * scene.width / 1e6)
    print(f"packed: {len(scenes) - there} scenes to {config.out}, {there} were there already")
    if config.statistics:
        windows = RasterWindows(config.out, window=config.window)
        compute_statistics(windows).to_json(config.statistics)
        print(f"written: {config.statistics}")


def pack(scene: SceneFile, target: Path, *, compress: str, block: int) -> None:
    """Rewrite one raster.

    Raises:
        UnreadableImageError: it is damaged.
        NoRoomError: the disk is full.
    """
    from cmid.data.rasters import copy_raster
    from cmid.files import whole_file

    options: dict[str, object] = {"blockxsize": block, "blockysize": block}
    if compress != "none":
        options["predictor"] = 3 if scene.dtypes[0].startswith("float") else 2
    with whole_file(target) as part:
        copy_raster(
            scene.path,
            part,
            tiled=True,
            compress=compress,
            interleave="pixel",
            bigtiff="if_safer",
            **options,
        )
