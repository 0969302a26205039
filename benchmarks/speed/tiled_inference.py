"""Maps of one torch model by cmid, geoai and terratorch: CPU time, memory, and how seams show.

python -m benchmarks.speed.tiled_inference SCENE.tif --out DIR

Tiles have 512 pixels and begin every 320, here with a halo of 64 and 64 to fade over. The model is
convolutional and sees 27 pixels around, so that a map without seams equals the whole scene. Every
library writes classes.tif in a process of its own; those that are not installed are left out.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.speed.table import show
from cmid.command_line import command
from cmid.data.rasters import bound_block_cache, opened, rasterio_module
from cmid.data.windows import Window
from cmid.inference.products import Classes
from cmid.inference.scenes import Scene
from cmid.inference.streaming import map_scene
from cmid.inference.tiled import TiledScene
from cmid.inference.tiles import TileGrid
from cmid.inference.writing import write_maps
from cmid.options import at_least, option

_CLASSES = 11
_TILE, _STEP, _HALO = 512, 320, 64
Scores = NDArray[np.float32]


@dataclass(frozen=True)
class TiledConfig:
    """What is measured.

    Attributes:
        scene: raster of bytes.
        out: folder of maps and tiled_inference.json.
        size: side of the part in pixels, from the upper left corner.
        case: one library, in a process of its own.
    """

    scene: str
    out: Path = option()
    size: Annotated[int, at_least(1024)] = 2048
    case: str | None = None


class Network(nn.Module):
    """Dilated convolutions, scores of 11 classes for each pixel."""

    stride, cell, channels = 32, 1, _CLASSES

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.fill = (0.0,) * bands
        torch.manual_seed(0)
        widths = (bands, *[16] * 6)
        self.layers = nn.Sequential()
        for before, after, dilation in zip(widths, widths[1:], (1, 2, 4, 8, 8, 4), strict=False):
            convolution = nn.Conv2d(before, after, 3, padding=dilation, dilation=dilation)
            self.layers += nn.Sequential(convolution, nn.ReLU())
        self.layers.append(nn.Conv2d(16, _CLASSES, 1))
        self.requires_grad_(False)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.layers(pixels.float() / 255)


def _ours(model: Network, scene: Path, out: Path | None) -> Scores | None:
    area = Scene(scene).area
    grid = TileGrid(
        height=area.height, width=area.width, size=_TILE, halo=_HALO, overlap=_HALO, stride=32
    )

    tiled = TiledScene(Scene(scene), Window(0, 0, area.height, area.width), grid)
    if out is None:
        scores = np.empty((_CLASSES, area.height, area.width), dtype=np.float32)
        for piece in map_scene(model, tiled):
            height, width = piece.missing.shape
            rows, columns = slice(piece.row, piece.row + height), slice(piece.column, None)
            scores[:, rows, columns][..., :width] = piece.values
        return scores
    products = [Classes(tuple(f"class {n}" for n in range(_CLASSES)))]
    write_maps(
        out,
        products,
        lambda first: map_scene(model, tiled, first=first),
        count=len(grid.tops),
        area=area,
        job={},
    )
    return None


def _geoai(model: Network, scene: Path, out: Path | None) -> Scores | None:
    predict = importlib.import_module("geoai.inference").predict_geotiff
    path = scene.with_name("geoai.tif") if out is None else out / "classes.tif"
    form: dict[str, Any] = {}
    if out is not None:
        form = {"output_dtype": "uint8", "output_nodata": 255, "postprocess_fn": _best}
    predict(
        model,
        str(scene),
        str(path),
        tile_size=_TILE,
        overlap=_TILE - _STEP,
        batch_size=4,
        num_classes=_CLASSES,
        preprocess_fn=lambda tile: tile,
        device="cpu",
        verbose=False,
        **form,
    )
    if out is not None:
        return None
    with opened(path) as file:
        return file.read()


def _best(scores: Scores) -> NDArray[np.uint8]:
    return scores.argmax(axis=0).astype(np.uint8)[None]


def _terratorch(model: Network, scene: Path, out: Path | None) -> Scores | None:
    tiled = importlib.import_module("terratorch.tasks.tiled_inference").tiled_inference
    with opened(scene) as file:
        pixels, profile = torch.from_numpy(file.read()).float()[None], file.profile
    found = tiled(model, pixels, crop=_TILE, stride=_STEP, delta=_HALO, batch_size=4)[0].numpy()
    if out is None:
        return found
    out.mkdir(parents=True, exist_ok=True)
    with opened(out / "classes.tif", "w", **profile | {"count": 1, "dtype": "uint8"}) as file:
        file.write(_best(found))
    return None


LIBRARIES: dict[str, Callable[[Network, Path, Path | None], Scores | None]] = {
    "cmid": _ours,
    "geoai": _geoai,
    "terratorch": _terratorch,
}


def run_case(library: str, scene: Path, out: Path) -> dict[str, float]:
    """Map a scene; then compare the scores with those of the whole scene at once."""
    torch.set_num_threads(1)
    bound_block_cache()
    with opened(scene) as file:
        model = Network(file.count).eval()
        pixels = file.read()
    peak, started = _peak(), time.process_time()
    LIBRARIES[library](model, scene, out / library)
    row = {"CPU s": time.process_time() - started, "peak GB more": _peak() - peak}
    found = LIBRARIES[library](model, scene, None)
    whole = model(torch.from_numpy(pixels)[None])[0].numpy()
    assert found is not None
    wrong = np.abs(found - whole).max(axis=0) / np.abs(whole).max()
    inside = wrong[_TILE // 4 : -_TILE // 4, _TILE // 4 : -_TILE // 4]
    differ = 100 * float((found.argmax(axis=0) != whole.argmax(axis=0)).mean())
    errors = {"seam error": float(inside.max()), "error with border": float(wrong.max())}
    return row | errors | {"% of classes differ": differ}


def _peak() -> float:
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if "VmHWM" in line)) / 1e6


@command(TiledConfig, memory="--size")
def main(config: TiledConfig) -> None:
    """Measure every library and show the table; a case itself where one is given."""
    part = config.out / "scene.tif"
    if config.case:
        print(json.dumps(run_case(config.case, part, config.out)))
        return
    config.out.mkdir(parents=True, exist_ok=True)
    with opened(config.scene) as file:
        window = rasterio_module().windows.Window(0, 0, config.size, config.size)
        shape = {"height": config.size, "width": config.size}
        with opened(part, "w", **file.profile | shape) as target:
            target.write(file.read(window=window))
    rows: list[dict[str, Any]] = []
    for library in LIBRARIES:
        if importlib.util.find_spec(library) is None:
            print(f"{library} is not installed: left out")
            continue
        words = [sys.executable, "-m", "benchmarks.speed.tiled_inference", config.scene]
        case = [*words, "--out", str(config.out), "--case", library]
        done = subprocess.run(case, stdout=subprocess.PIPE, text=True, check=library == "cmid")
        if done.returncode:
            print(f"{library} does not run here, see above: left out")
            continue
        rows.append({"library": library, **json.loads(done.stdout.splitlines()[-1])})
    show(rows, replace(config, out=config.out / "tiled_inference.json"))


if __name__ == "__main__":
    main()
