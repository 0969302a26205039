"""Maps of a large scene: peak memory, what nodata costs, and bytes after a kill.

python -m benchmarks.speed.scene_memory --out DIR

The scene is sparse: 4 bands of uint16, of which a part of the columns holds values. The model tells
11 classes by a convolution, so that what is measured is reading, stitching and writing. Every case
runs in a process of its own.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.speed.table import show
from cmid.checkpoints.weight_files import sha256_of
from cmid.command_line import command
from cmid.data.rasters import bound_block_cache, opened, rasterio_module
from cmid.data.windows import Window
from cmid.inference.products import Classes
from cmid.inference.scenes import Scene
from cmid.inference.streaming import map_scene
from cmid.inference.tiles import TileGrid
from cmid.inference.writing import write_maps
from cmid.options import at_least, option

CLASSES = 11
_TILE, _MARGIN, _BLOCK = 512, 64, 512  # as tools/map.py chooses them
_KILLED_AFTER = 3  # strips


@dataclass(frozen=True)
class MemoryConfig:
    """What is measured.

    Attributes:
        out: folder of scenes, maps and scene_memory.json; scenes and maps are deleted.
        size: side of the large scene in pixels.
        valid: share of its columns that holds values.
        small: side of the scene that is mapped whole, half without values, and killed.
        case: one case as JSON, in a process of its own.
    """

    out: Path = option()
    size: Annotated[int, at_least(1024)] = 20_000
    valid: Annotated[float, at_least(0, 1)] = 0.25
    small: Annotated[int, at_least(1024)] = 4_096
    case: str | None = None


class Convolution(nn.Module):
    """Scores of 11 classes for each pixel."""

    stride, cell, channels = 32, 1, CLASSES
    fill = (0.0,) * 4

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(4, CLASSES, 3, padding=1).requires_grad_(False)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.layer(pixels / 10_000)


def write_scene(path: Path, size: int, *, valid: float) -> None:
    """A sparse scene of ramps; columns beyond ``valid`` of it are nodata."""
    ramp = np.add.outer(np.arange(_BLOCK), np.arange(_BLOCK)).astype(np.uint16) * 9 + 1
    block = np.stack([ramp, ramp[::-1], ramp[:, ::-1], ramp.T // 2 + 1])
    shape = {"width": size, "height": size, "count": 4, "dtype": "uint16", "nodata": 0}
    tiles = {"tiled": True, "blockxsize": _BLOCK, "blockysize": _BLOCK, "sparse_ok": True}
    place = {"crs": "EPSG:32633", "transform": rasterio_module().transform.from_origin(0, 0, 1, 1)}
    form = {"driver": "GTiff", "compress": "deflate", "zlevel": 1, "interleave": "pixel"}
    with opened(path, "w", **shape, **tiles, **place, **form, bigtiff="yes") as file:
        for top in range(0, size, _BLOCK):
            for left in range(0, round(size * valid), _BLOCK):
                height, width = min(_BLOCK, size - top), min(_BLOCK, round(size * valid) - left)
                window = rasterio_module().windows.Window(left, top, width, height)
                file.write(block[:, :height, :width], window=window)


def run_case(scene: str, out: str, *, resume: bool) -> dict[str, float]:
    """Map a scene as ``tools/map.py`` does; CPU seconds and the peak in GB."""
    torch.set_num_threads(1)
    bound_block_cache()
    started, opened_scene, model = time.process_time(), Scene(scene), Convolution()
    area = opened_scene.area
    window = Window(0, 0, area.height, area.width)
    grid = TileGrid(
        height=area.height,
        width=area.width,
        size=_TILE,
        halo=_MARGIN,
        overlap=_MARGIN,
        stride=model.stride,
    )
    write_maps(
        Path(out),
        [Classes(tuple(f"class {n}" for n in range(CLASSES)))],
        lambda first: map_scene(model, opened_scene, grid, window=window, first=first),
        count=len(grid.tops),
        area=area,
        job={"scene": scene},
        resume=resume,
    )
    # ru_maxrss would hold the peak of the process that started this one, too.
    status = Path("/proc/self/status").read_text()
    peak = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return {"CPU s": time.process_time() - started, "peak GB": int(peak) / 1e6}


def _start(scene: Path, out: Path, *, resume: bool = False) -> subprocess.Popen[str]:
    case = {"scene": str(scene), "out": str(out), "resume": resume}
    words = [sys.executable, "-m", "benchmarks.speed.scene_memory", "--out", str(out)]
    return subprocess.Popen([*words, "--case", json.dumps(case)], stdout=subprocess.PIPE, text=True)


def _measured(process: subprocess.Popen[str]) -> dict[str, float]:
    printed, _ = process.communicate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return json.loads(printed.splitlines()[-1])


def _killed(scene: Path, out: Path) -> int:
    """Start a map and kill it; how many strips were there."""
    process = _start(scene, out)
    while len(strips := [*out.glob("unfinished/*.npy")]) < _KILLED_AFTER:
        if process.poll() is not None:
            raise ValueError(f"the map of {scene} ended before it was killed: enlarge --small")
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return len(strips)


@command(MemoryConfig, memory="--size")
def main(config: MemoryConfig) -> None:
    """Measure every case and show the table; a case itself where one is given.

    Raises:
        ValueError: a map that was killed and resumed has other bytes.
    """
    if config.case:
        case = json.loads(config.case)
        print(json.dumps(run_case(case["scene"], case["out"], resume=case["resume"])))
        return
    rows: list[dict[str, Any]] = []
    work = config.out / "work"
    work.mkdir(parents=True)
    for name, size, valid in (
        ("whole", config.small, 1.0),
        ("half nodata", config.small, 0.5),
        ("large", config.size, config.valid),
    ):
        scene, out = work / f"{name}.tif", work / name
        write_scene(scene, size, valid=valid)
        rows.append({"scene": name, "side": size, "valid": valid, **_measured(_start(scene, out))})
        print(rows[-1], flush=True)
        if name == "whole":
            again = work / "again"
            done = _killed(scene, again)
            _measured(_start(scene, again, resume=True))
            if sha256_of(again / "classes.tif") != sha256_of(out / "classes.tif"):
                raise ValueError("a map that was killed and resumed has other bytes")
            print(f"killed after {done} strips and resumed: the same bytes", flush=True)
        shutil.rmtree(out)
    shutil.rmtree(work)
    show(rows, replace(config, out=config.out / "scene_memory.json"))


if __name__ == "__main__":
    main()
