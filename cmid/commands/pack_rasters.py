"""Rasters rewritten so that windows of them are read fast: uncompressed GeoTIFFs in small tiles.

python tools/pack_rasters.py SCENES --out packed --statistics stats.json
python tools/pretrain.py --data.source.class_path RasterWindows --data.source.init_args.paths packed

Values, types, georeferences, scales, masks and texts stay. A run that was interrupted goes on with
the scenes that are missing, or that changed since; other options write all anew.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tqdm import tqdm

from cmid.command_line import command
from cmid.options import at_least, option

if TYPE_CHECKING:
    from cmid.data.raster_files import SceneFile

# A tag of every new file: what it is made of as JSON.
_RECORD = "CMID_PACKED"


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
        if self.statistics and Path(self.statistics).is_dir():
            raise ValueError(f"--statistics {self.statistics} is a folder: name a JSON file")


@command(PackingConfig, memory="--block")
def main(config: PackingConfig) -> None:
    """Rewrite every scene, then measure the bands."""
    from cmid.data import RasterWindows, compute_statistics
    from cmid.data.raster_files import inspect
    from cmid.data.raster_paths import find_rasters

    scenes = [inspect(path) for path in find_rasters(config.scenes)]
    targets = _targets(config, scenes)
    records = [_record(config, scene) for scene in scenes]
    waiting = [_is_missing(*each) for each in zip(targets, records, strict=True)]
    with tqdm(
        total=sum(scene.height * scene.width for scene in scenes) / 1e6,
        desc="packing",
        unit="megapixel",
        bar_format="{l_bar}{bar}| {n:.0f}/{total:.0f} megapixels [{elapsed}<{remaining}]",
    ) as bar:
        for scene, target, record, needed in zip(scenes, targets, records, waiting, strict=True):
            if needed:
                pack(
                    scene,
                    target,
                    compress=config.compress,
                    block=config.block,
                    tags={_RECORD: json.dumps(record)},
                )
            bar.update(scene.height * scene.width / 1e6)
    there = len(scenes) - sum(waiting)
    print(f"packed: {sum(waiting)} scenes to {config.out}, {there} were there already")
    if config.statistics:
        windows = RasterWindows([*map(os.fspath, targets)], window=config.window)
        compute_statistics(windows).to_json(config.statistics)
        print(f"written: {config.statistics}")


def _targets(config: PackingConfig, scenes: Sequence[SceneFile]) -> list[Path]:
    """The new file of each scene, below ``--out`` as the scenes lie below their common folder."""
    from cmid.data.raster_paths import on_disk

    files = [on_disk(scene.path).resolve() for scene in scenes]
    root = Path(os.path.commonpath([file.parent for file in files]))
    out = Path(config.out).resolve()
    searched = Path(config.scenes).resolve()
    inside = searched.is_dir() and searched in out.parents
    if inside or any(out in file.parents for file in files):
        raise FileExistsError(
            f"{config.out} {'lies among' if inside else 'holds'} the scenes: choose another folder"
            " for --out"
        )
    targets = []
    for scene, file in zip(scenes, files, strict=True):
        # The ending stays in the name: a.img and a.tif may lie side by side.
        variable = re.sub(r"\W+", "_", _within(scene)).rstrip("_")
        name = f"{file.name.removesuffix('.tif')}{variable}.tif"
        targets.append(Path(config.out) / file.relative_to(root).with_name(name))
    return targets


def _within(scene: SceneFile) -> str:
    """What names a part of a file; empty for a whole one."""
    from cmid.data.raster_paths import on_disk

    return scene.path.rpartition(on_disk(scene.path).name)[2]


def _record(config: PackingConfig, scene: SceneFile) -> dict[str, Any]:
    """What a new file is made of, and how."""
    from cmid.data.raster_paths import on_disk

    path = on_disk(scene.path).resolve()
    return {
        "scene": f"{path}{_within(scene)}",
        "mtime": path.stat().st_mtime_ns,
        "compress": config.compress,
        "block": config.block,
    }


def _is_missing(target: Path, record: Mapping[str, Any]) -> bool:
    """Whether a file is not there, or of an earlier state of the scene or of other options.

    Raises:
        FileExistsError: it is of another scene.
    """
    from cmid.data.rasters import one_line_errors, opened

    if not target.exists():
        return True
    with one_line_errors(os.fspath(target)), opened(target) as file:
        found = json.loads(file.tags().get(_RECORD, "null"))
    if found is None or found["scene"] != record["scene"]:
        what = "does not tell of what it is made" if found is None else f"is of {found['scene']}"
        raise FileExistsError(
            f"{target} {what}, and {record['scene']} would replace it: choose another folder for"
            " --out, or delete it"
        )
    return found != record


def pack(
    scene: SceneFile,
    target: Path,
    *,
    compress: str,
    block: int,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Rewrite one raster.

    Args:
        tags: what the new file says besides.

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
            tags=tags,
            tiled=True,
            compress=compress,
            interleave="pixel",
            bigtiff="if_safer",
            **options,
        )
