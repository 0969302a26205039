"""Maps of large scenes: peak memory, what nodata costs, and bytes after a kill.

python -m benchmarks.speed.scene_memory --out DIR

Scenes are sparse: 4 bands of uint16, of which a part of the columns holds values. One model tells
11 classes by a convolution, so that what is measured is reading, stitching and writing; the other
one is a backbone. Every case runs in a process of its own.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.speed.table import show
from cmid.checkpoints import load_backbone
from cmid.checkpoints.weight_files import sha256_of
from cmid.command_line import command
from cmid.data.rasters import bound_block_cache, opened, rasterio_module
from cmid.data.windows import Window
from cmid.inference.embeddings import EmbeddingModel
from cmid.inference.products import Classes, Embeddings, Probabilities, Product
from cmid.inference.scenes import Scene
from cmid.inference.streaming import DenseModel, map_scene
from cmid.inference.tiled import TiledScene
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
        low: height of scenes of the large one's width, and of half of it, whose probabilities are
            mapped, too.
        small: side of the scene that is mapped whole, half without values, and killed.
        backbone: what maps whole and half scenes, too: a network with a price.
        probabilities: map those of the large scene, too.
        case: one case as JSON, in a process of its own.
    """

    out: Path = option()
    size: Annotated[int, at_least(1024)] = 20_000
    valid: Annotated[float, at_least(0, 1)] = 0.25
    low: Annotated[int, at_least(512)] = 2_048
    small: Annotated[int, at_least(1024)] = 4_096
    backbone: str = "random:resnet18"
    probabilities: bool = False
    case: str | None = None


@dataclass(frozen=True)
class Case:
    """A scene, and what is mapped of it.

    Attributes:
        scene: its name. height, width: in pixels. valid: share of the columns with values.
        backbone: whose embeddings are mapped, instead of 11 classes.
        probabilities: map those of the classes, too.
    """

    scene: str
    height: int
    width: int
    valid: float = 1.0
    backbone: str = ""
    probabilities: bool = False


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


def write_scene(path: Path, case: Case) -> None:
    """A sparse scene of ramps; columns beyond ``valid`` of it are nodata."""
    ramp = np.add.outer(np.arange(_BLOCK), np.arange(_BLOCK)).astype(np.uint16) * 9 + 1
    block = np.stack([ramp, ramp[::-1], ramp[:, ::-1], ramp.T // 2 + 1])
    size = {"width": case.width, "height": case.height}
    shape = {**size, "count": 4, "dtype": "uint16", "nodata": 0}
    tiles = {"tiled": True, "blockxsize": _BLOCK, "blockysize": _BLOCK, "sparse_ok": True}
    place = {"crs": "EPSG:32633", "transform": rasterio_module().transform.from_origin(0, 0, 1, 1)}
    form = {"driver": "GTiff", "compress": "deflate", "zlevel": 1, "interleave": "pixel"}
    with opened(path, "w", **shape, **tiles, **place, **form, bigtiff="yes") as file:
        end = round(case.width * case.valid)
        for top in range(0, case.height, _BLOCK):
            for left in range(0, end, _BLOCK):
                height, width = min(_BLOCK, case.height - top), min(_BLOCK, end - left)
                window = rasterio_module().windows.Window(left, top, width, height)
                file.write(block[:, :height, :width], window=window)


def run_case(case: Case, scene: Path, out: Path, *, resume: bool) -> dict[str, float]:
    """Map a scene as ``tools/map.py`` does.

    Returns:
        CPU seconds, the peak in GB, and what of it libraries and model take.
    """
    torch.set_num_threads(1)
    bound_block_cache()
    model: DenseModel = Convolution()
    names = tuple(f"class {n}" for n in range(CLASSES))
    products: list[Product] = [Classes(names), *[Probabilities(names)] * case.probabilities]
    if case.backbone:
        model = EmbeddingModel(load_backbone(case.backbone, in_chans=4))
        products = [Embeddings(tuple(f"feature {n}" for n in range(model.channels)))]
    model(torch.zeros(1, 4, model.stride, model.stride))
    started, first = time.process_time(), _memory("VmRSS")
    opened_scene = Scene(str(scene))
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
    tiled = TiledScene(opened_scene, window, grid)
    write_maps(
        out,
        products,
        lambda first: map_scene(model, tiled, first=first),
        count=len(grid.tops),
        area=area.part(window, model.cell),
        job={"scene": str(scene)},
        resume=resume,
    )
    spent = time.process_time() - started
    return {"CPU s": spent, "libraries GB": first, "peak GB": _memory("VmHWM")}


def _memory(kind: str) -> float:
    """GB of this process; ru_maxrss would hold the peak of the one that started it, too."""
    status = Path("/proc/self/status").read_text()
    found = next(line.split()[1] for line in status.splitlines() if line.startswith(f"{kind}:"))
    return int(found) / 1e6


def _start(case: Case, work: Path, out: Path, *, resume: bool = False) -> subprocess.Popen[str]:
    scene = work / f"{case.scene}.tif"
    told = {"case": asdict(case), "scene": str(scene), "out": str(out), "resume": resume}
    words = [sys.executable, "-m", "benchmarks.speed.scene_memory", "--out", str(out)]
    return subprocess.Popen([*words, "--case", json.dumps(told)], stdout=subprocess.PIPE, text=True)


def _measured(process: subprocess.Popen[str]) -> dict[str, float]:
    printed, _ = process.communicate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return json.loads(printed.splitlines()[-1])


def _killed(case: Case, work: Path, out: Path) -> int:
    """Start a map and kill it; how many strips were there."""
    process = _start(case, work, out)
    while len(strips := [*out.glob("unfinished/*.npy")]) < _KILLED_AFTER:
        if process.poll() is not None:
            raise ValueError(f"the map of {case.scene} ended before it was killed: enlarge --small")
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
        told = json.loads(config.case)
        scene, out = Path(told["scene"]), Path(told["out"])
        print(json.dumps(run_case(Case(**told["case"]), scene, out, resume=told["resume"])))
        return
    rows: list[dict[str, Any]] = []
    work = config.out / "work"
    work.mkdir(parents=True)
    for case in _cases(config):
        out, scene = work / "map", work / f"{case.scene}.tif"
        write_scene(scene, case)
        rows.append(asdict(case) | _measured(_start(case, work, out)))
        print(rows[-1], flush=True)
        if case.scene == "whole":
            _check_killed(case, work, sha256_of(out / "classes.tif"))
        shutil.rmtree(out)
        scene.unlink()
    shutil.rmtree(work)
    show(rows, replace(config, out=config.out / "scene_memory.json"))


def _cases(config: MemoryConfig) -> list[Case]:
    small, size, low = config.small, config.size, config.low
    return [
        Case("whole", small, small),
        Case("half nodata", small, small, 0.5),
        Case("whole, backbone", small, small, backbone=config.backbone),
        Case("half nodata, backbone", small, small, 0.5, backbone=config.backbone),
        Case("low and narrow", low, size // 2, config.valid, probabilities=True),
        Case("low", low, size, config.valid, probabilities=True),
        Case("large", size, size, config.valid, probabilities=config.probabilities),
    ]


def _check_killed(case: Case, work: Path, digest: str) -> None:
    again = work / "again"
    done = _killed(case, work, again)
    _measured(_start(case, work, again, resume=True))
    if sha256_of(again / "classes.tif") != digest:
        raise ValueError("a map that was killed and resumed has other bytes")
    shutil.rmtree(again)
    print(f"killed after {done} strips and resumed: the same bytes", flush=True)


if __name__ == "__main__":
    main()
