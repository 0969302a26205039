"""Backbones as models of maps: an embedding for every cell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmid.checkpoints import Backbone
from cmid.data.rasters import geo_module, opened, rasterio_module
from cmid.data.windows import Window
from cmid.inference.earlier import JOB_TAG
from cmid.inference.pairs import ScenePair
from cmid.inference.regions import Limited
from cmid.inference.scenes import Scene
from cmid.inference.streaming import DenseModel, map_scene
from cmid.inference.tiled import TiledScene
from cmid.inference.tiles import TileGrid
from cmid.inference.vectors import Columns, write_features


class EmbeddingModel:
    """The last feature map of a frozen backbone, see `cmid.inference.streaming.DenseModel`."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone
        self.stride = self.cell = backbone.encoder.stride
        self.channels = backbone.encoder.embed_dim
        self.fill = backbone.standardize.statistics.mean_pixel

    @property
    def digest(self) -> str:
        """Hash of what decides over its embeddings, see `Backbone`."""
        return self.backbone.digest

    def __call__(self, pixels: Tensor) -> Tensor:
        device = self.backbone.standardize.mean.device
        return self.backbone.encoder(self.backbone.standardize(pixels.to(device)))


def mean_embedding(
    model: DenseModel, scene: Scene, *, window: Window, size: int
) -> NDArray[np.float32]:
    """One embedding of a part of a scene, ``(channels)``: the mean of its cells' unit vectors.

    Args:
        window: the part. size: side of the tiles.

    Raises:
        ValueError: it has no valid pixel.
    """
    height, width = window[2:]
    grid = TileGrid(height=height, width=width, size=size, halo=0, overlap=0, stride=model.stride)
    total = np.zeros(model.channels, dtype=np.float32)
    for piece in map_scene(model, TiledScene(scene, window, grid, 1)):
        found = piece.values[:, ~piece.missing]
        total += (found / np.linalg.norm(found, axis=0).clip(1e-12)).sum(axis=1)
    if not total.any():
        raise ValueError(f"{scene.name} has no valid pixel: nothing to search for")
    return total


def feature_scales(
    model: DenseModel,
    scene: Scene | ScenePair | Limited,
    *,
    window: Window,
    size: int,
    tiles: int = 16,
) -> tuple[float, ...]:
    """Scales of 8-bit embeddings: 127 stands for a little more than the largest feature seen.

    Args:
        window: the part of the scene that is mapped.
        size: side of the tiles, of which some along the diagonals are looked at.
    """
    largest = np.zeros(model.channels, dtype=np.float32)
    side_y, side_x = (max(1, length - size) for length in window[2:])
    for number in range(tiles):
        share = (number + 0.5) / tiles
        top, left = int(share * side_y), int((share if number % 2 else 1 - share) * side_x)
        part = Window(window.top + top, window.left + left, size, size).inside(
            window.top + window.height, window.left + window.width
        )
        grid = TileGrid(
            height=part.height, width=part.width, size=size, halo=0, overlap=0, stride=model.stride
        )
        for piece in map_scene(model, TiledScene(scene, part, grid)):
            largest = np.maximum(largest, np.abs(piece.values).max(axis=(1, 2)))
    if not largest.any():
        raise ValueError(f"{scene.name}: none of {tiles} tiles has a valid pixel: write float16")
    return tuple((torch.from_numpy(largest).clamp(min=1e-6) * 1.1 / 127).tolist())


def write_cells(raster: Path, *, rows: int = 256) -> list[Path]:
    """Write the embeddings of a map as features: a square and a list of numbers for each cell.

    Args:
        raster: ``embeddings.tif`` of a map. rows: how many are held at a time.

    Returns:
        A GeoParquet file beside it, with a column ``embedding`` of float32; cells without a value
        are left out.
    """
    with opened(raster) as file:
        job = file.tags().get(JOB_TAG)
        return write_features(raster.with_suffix(""), _cells(file, rows), crs=file.crs, job=job)


def _cells(file: Any, rows: int) -> Iterator[Columns]:
    shapely = geo_module("shapely", "features")

    scales = np.array(file.scales, dtype=np.float32)
    t = file.transform
    for top in range(0, file.height, rows):
        window = rasterio_module().windows.Window(0, top, file.width, min(rows, file.height - top))
        values = file.read(window=window)
        there = ~(np.isnan(values[0]) if np.isnan(file.nodata) else values[0] == file.nodata)
        row, column = np.nonzero(there)
        x = column[:, None] + np.array([0, 1, 1, 0])
        y = row[:, None] + top + np.array([0, 0, 1, 1])
        corners = (t.a * x + t.b * y + t.c, t.d * x + t.e * y + t.f)
        yield {
            "embedding": values[:, there].T * scales,
            "geometry": shapely.polygons(np.stack(corners, axis=-1)),
        }
