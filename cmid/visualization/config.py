"""What a figure is asked for; imports nothing heavy, so that commands can tell it at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from cmid.options import at_least, option


@dataclass(frozen=True)
class FigureConfig:
    """A figure of what a backbone has learned.

    Attributes:
        kind: what is shown.
        backbone: see above.
        images: see above.
        bands: read rasters: their bands by name, counted from 1, or all.
        sensor: sensor of the rasters, such as sentinel2_l2a, or a JSON file (cmid.data.sensors).
        size: pixels per side; larger ones give finer dense maps (default: the backbone's).
        count: images or queries.
        seed: random seed of the choice of images.
        device: cpu, cuda or mps.
        block_size: masked blocks, in pixels.
        mask_ratio: share of masked blocks.
        cell: query cell of the similarity map.
        method: embedding method.
        max_images: most images to embed or to search for neighbours.
        neighbours: nearest images shown per query.
    """

    kind: Literal["reconstruction", "attention", "correspondence", "pca", "embedding", "neighbours"]
    backbone: str
    images: str
    bands: tuple[int | str, ...] | None = None
    sensor: str | None = None
    size: Annotated[int, at_least(1)] | None = None
    count: Annotated[int, at_least(1)] = 6
    seed: int = 0
    device: str = "cpu"
    block_size: Annotated[int, at_least(1)] = 16
    mask_ratio: Annotated[float, at_least(0, 1)] = 0.3
    cell: tuple[int, int] | None = option(None, metavar=("ROW", "COLUMN"))
    method: Literal["tsne", "umap"] = "tsne"
    max_images: Annotated[int, at_least(1)] = 2000
    neighbours: Annotated[int, at_least(1)] = 8
