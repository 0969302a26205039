"""A generated scene of any size: many places side by side, acquired at once, strip by strip."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cmid.data.scenes.scene import Scene, generate_scene
from cmid.data.scenes.textures import Look

PLACE = 128  # pixels from one place to the next
_MARGIN = 32  # more that a place has at each side, for a border that is not straight


@dataclass(frozen=True)
class Strip:
    """Rows of the scene.

    Attributes:
        row: the first one.
        first, second: ``(C, rows, size)`` uint8, both dates.
        labels: ``(rows, size)`` uint8, indices into `SEMANTIC_CLASSES` at the first date.
        change: ``(rows, size)`` uint8, 1 where the material has changed.
    """

    row: int
    first: NDArray[np.uint8]
    second: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    change: NDArray[np.uint8]


def mosaic(size: int, *, num_bands: int = 4, seed: int = 0) -> Iterator[Strip]:
    """A square scene from top to bottom; memory holds three rows of places.

    Args:
        size: height and width in pixels, 16 or more.
        num_bands: see `generate_scene`.
        seed: another one gives other places, light and season.

    Raises:
        ValueError: a size or a number of bands that scenes do not have.
    """
    if size < 16 or num_bands < 3:
        raise ValueError(f"a scene needs size >= 16 and bands >= 3, not {size} and {num_bands}")
    rng = random.Random(f"cmid mosaic {seed}")
    look = Look.sample(rng)
    looks = look.of_many(), look.later(rng).of_many()
    count = -(-size // PLACE)  # places a side, and one more beyond each border

    @lru_cache(maxsize=3 * (count + 2))
    def layers(row: int, column: int) -> NDArray[np.uint8]:
        scene = generate_scene(
            (row + 1) * (count + 2) + column + 1,
            seed=seed,
            size=PLACE + 2 * _MARGIN,
            num_bands=num_bands,
            second_date=True,
            looks=looks,
        )
        return _layers(scene)

    columns = np.arange(size)
    for top in range(0, size, PLACE):
        rows = np.arange(top, min(size, top + PLACE))
        row, column = _owners(rows[:, None], columns[None], rng_seed=seed)
        found = np.empty((2 * num_bands + 2, len(rows), size), dtype=np.uint8)
        for i in range(row.min(), row.max() + 1):
            for j in range(column.min(), column.max() + 1):
                y, x = np.nonzero((row == i) & (column == j))
                if len(y):
                    inside = y + top - i * PLACE + _MARGIN, x - j * PLACE + _MARGIN
                    found[:, y, x] = layers(i, j)[:, inside[0], inside[1]]
        first, second, (labels, change) = np.split(found, [num_bands, 2 * num_bands])
        yield Strip(top, first, second, labels, change)


def _owners(
    y: NDArray[np.int64], x: NDArray[np.int64], *, rng_seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and column of the place that each pixel belongs to; borders wind by up to the margin."""
    rng = np.random.default_rng((rng_seed, 1))
    moved = []
    for along in (y, x):
        shift = 0.0
        for length in (150.0, 83.0, 37.0):
            turn, phase = rng.uniform(0, 2 * np.pi, 2)
            way = (np.cos(turn) * x + np.sin(turn) * y) * (2 * np.pi / length)
            shift = shift + length * np.sin(way + phase)
        moved.append(np.floor((along + (_MARGIN - 1) / 270 * shift) / PLACE).astype(np.int64))
    row, column = np.broadcast_arrays(*moved)
    return row, column


def _layers(scene: Scene) -> NDArray[np.uint8]:
    """Both dates, labels and change of a place, ``(2 * C + 2, H, W)``."""
    assert scene.image_second is not None
    assert scene.change_mask is not None
    dates = [scene.image.numpy(), scene.image_second.numpy()]
    return np.concatenate([*dates, scene.semantic_mask[None], scene.change_mask[None]])
