"""Random windows of GeoTIFFs as float32 tensors: windows per CPU-second of one process.

Compares plain rasterio, torchgeo's random sampler (where torchgeo is installed) and ours: random
windows, windows that share what is decoded, and those of packed files. All in turn, round by round;
GDAL's cache is small beside the scene, as it is beside an archive.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from scipy.ndimage import zoom
from torch import Tensor

from benchmarks.speed.table import ratio, show
from cmid.command_line import command
from cmid.commands.pack_rasters import pack
from cmid.data import RasterWindows
from cmid.data.raster_files import inspect
from cmid.data.rasters import copy_raster, opened, rasterio_module
from cmid.data.resumable import RunSampler, SampleDataset
from cmid.data.transform import SampleTransform
from cmid.options import at_least

FORMATS: dict[str, dict[str, Any]] = {
    "DEFLATE, tiles of 512": {"tiled": True, "blockxsize": 512, "blockysize": 512, "predictor": 2},
    "ZSTD, tiles of 256": {"tiled": True, "compress": "zstd", "predictor": 2},
    "DEFLATE, strips": {"tiled": False},
    "COG (DEFLATE, tiles of 512, overviews)": {"driver": "COG", "predictor": "yes"},
}


@dataclass(frozen=True)
class RasterConfig:
    """What is timed.

    Attributes:
        size: side of the scene in pixels; it has four bands of uint16.
        window: side of the windows.
        windows: windows a round of each way to read.
        windows_per_read: windows of a neighbourhood.
        rounds: timed rounds, after one warm-up round.
        cache_mb: GDAL's cache in megabytes.
        out: JSON file.
    """

    size: Annotated[int, at_least(1024)] = 8192
    window: Annotated[int, at_least(1)] = 264
    windows: Annotated[int, at_least(256)] = 256
    windows_per_read: Annotated[int, at_least(2)] = 16
    rounds: Annotated[int, at_least(1)] = 5
    cache_mb: Annotated[int, at_least(1)] = 64
    out: str | None = None


class Pixels(SampleTransform):
    """The pixels of a window as float32."""

    def sample(self, source: Any, index: int, generator: np.random.Generator) -> dict[str, Tensor]:
        return {"pixels": source.read(index, generator=generator).pixels}


def write_scene(path: Path, size: int) -> None:
    """Smooth fields with some noise, as hard to compress as a Sentinel-2 scene."""
    generator = np.random.default_rng(0)
    profile = {"count": 4, "height": size, "width": size, "dtype": "uint16", "crs": "EPSG:32633"}
    transform = rasterio_module().transform.from_origin(5e5, 5e6, 10, 10)
    with opened(path, "w", driver="GTiff", transform=transform, **profile) as file:
        for band in range(1, 5):
            fields = generator.normal(3000, 900, (size // 64 + 1, size // 64 + 1))
            smooth = zoom(fields.astype(np.float32), 64, order=1)[:size, :size]
            noisy = smooth + generator.normal(0, 15, (size, size)).astype(np.float32)
            file.write(noisy.clip(1, 65535).astype(np.uint16), band)


def plain(path: Path, config: RasterConfig) -> Iterator[Tensor]:
    """What one writes by hand with rasterio."""
    generator = np.random.default_rng(0)
    window = rasterio_module().windows.Window
    with opened(path) as file:
        while True:
            left, top = generator.integers(config.size - config.window + 1, size=2).tolist()
            pixels = file.read(window=window(left, top, config.window, config.window))
            yield torch.from_numpy(pixels.astype(np.float32))


def by_torchgeo(path: Path, config: RasterConfig) -> Iterator[Tensor] | None:
    """torchgeo's dataset and random sampler; None where it is not installed."""
    try:
        from torchgeo.datasets import RasterDataset
        from torchgeo.samplers import RandomGeoSampler
    except ModuleNotFoundError:
        return None
    dataset = RasterDataset(path)
    sampler = RandomGeoSampler(dataset, size=config.window, length=10**6)
    return (dataset[query]["image"] for query in sampler)


def ours(path: Path, config: RasterConfig, *, together: int) -> Iterator[Tensor]:
    """In the order of training."""
    length = 64 * config.windows
    source = RasterWindows(
        path, window=config.window, windows_per_epoch=length, windows_per_read=together
    )
    dataset = SampleDataset(source, Pixels())
    sampler = RunSampler(
        dataset, together=together, workers=1, batch_size=16, num_replicas=1, rank=0
    )
    return (dataset[item]["pixels"] for item in sampler)


def ways(folder: Path, config: RasterConfig) -> dict[tuple[str, str], Iterator[Tensor]]:
    """Format and way to read, to windows without end."""
    scene = folder / "scene.tif"
    write_scene(scene, config.size)
    found: dict[tuple[str, str], Iterator[Tensor]] = {}
    for number, (name, options) in enumerate(FORMATS.items()):
        path = folder / f"{number}" / "scene.tif"
        path.parent.mkdir()
        copy_raster(scene, path, **{"compress": "deflate", **options})
        found[name, "plain rasterio"] = plain(path, config)
        if (windows := by_torchgeo(path.parent, config)) is not None:
            found[name, "torchgeo"] = windows
        found[name, "ours, random"] = ours(path, config, together=1)
        found[name, "ours, together"] = ours(path, config, together=config.windows_per_read)
    for compress in ("none", "zstd"):
        path = folder / compress / "scene.tif"
        pack(inspect(str(scene)), path, compress=compress, block=128)
        for way, together in (("random", 1), ("together", config.windows_per_read)):
            found[f"packed ({compress})", f"ours, {way}"] = ours(path, config, together=together)
    return found


@command(RasterConfig, memory="--size")
def main(config: RasterConfig) -> None:
    """Time every way on every format and show the table."""
    torch.set_num_threads(1)
    os.environ["GDAL_CACHEMAX"] = str(config.cache_mb)
    with tempfile.TemporaryDirectory() as name:
        found = ways(Path(name), config)
        seconds: dict[tuple[str, str], list[float]] = {way: [] for way in found}
        for _ in range(config.rounds + 1):
            for way, windows in found.items():
                start = time.process_time()
                for _ in range(config.windows):
                    next(windows)
                seconds[way].append(time.process_time() - start)
    base = next(iter(found))
    rows = []
    for (file, reader), times in seconds.items():
        speed = config.windows / statistics.median(times[1:])
        ratios = ratio("ratio to the first", seconds[base], times)
        rows.append({"file": file, "read by": reader, "windows / CPU-second": speed, **ratios})
    show(rows, config)


if __name__ == "__main__":
    main()
