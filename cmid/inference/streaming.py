"""A model over a scene, strip by strip: tiles are read ahead, and results stitched in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmid.data.windows import Window
from cmid.inference.tiles import TileGrid


class Readable(Protocol):
    """A scene, see `cmid.inference.scenes.Scene`, or an image."""

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """``(C, H, W)`` values of a part, and ``(H, W)``, which pixels have none."""


class DenseModel(Protocol):
    """A model that says something about every cell of a tile.

    Attributes:
        stride: tiles have to be multiples of it. cell: pixels per cell of what it says, a divisor
            of ``stride``. channels: how many numbers it says of a cell.
        fill: the stored value of each band that missing pixels take.
    """

    @property
    def stride(self) -> int: ...

    @property
    def cell(self) -> int: ...

    @property
    def channels(self) -> int: ...

    @property
    def fill(self) -> Sequence[float]: ...

    def __call__(self, pixels: Tensor) -> Tensor:
        """``(B, C, H, W)`` stored values to ``(B, channels, H / cell, W / cell)`` float32."""


@dataclass(frozen=True)
class Strip:
    """Whole rows of the result.

    Attributes:
        number: which row of tiles it ends with; row: its first row of cells.
        values: ``(channels, rows, columns)`` float32.
        missing: ``(rows, columns)`` bool, cells without a valid pixel; their values are 0.
    """

    number: int
    row: int
    values: NDArray[np.float32]
    missing: NDArray[np.bool_]


def map_scene(
    model: DenseModel,
    scene: Readable,
    grid: TileGrid,
    *,
    window: Window,
    batch_size: int = 8,
    turns: bool = False,
    first: int = 0,
) -> Iterator[Strip]:
    """Apply a model to a part of a scene.

    Held are one row of tiles of results, and two batches of tiles, whatever the scene's height.
    Tiles without a valid pixel are not computed. The same arguments give the same numbers, also
    from a later strip on.

    Args:
        grid: tiles of the window. window: the part, in pixels of the scene.
        batch_size: tiles at a time.
        turns: average over the eight flips and quarter turns of every tile.
        first: the first strip that is wanted; tiles before it are computed only where they reach
            into it.
    """
    cell = model.cell
    height, width = (length // cell for length in grid.padded)
    rows, columns = (-(-length // cell) for length in window[2:])
    row_total, column_total = grid.totals(cell)
    side = grid.size // cell
    buffer = np.zeros((model.channels, side, width), dtype=np.float32)
    absent = np.ones((side, width), dtype=bool)
    reached = grid.tops[first]
    start = next(n for n, top in enumerate(grid.tops) if top + grid.size > reached)
    with ThreadPoolExecutor(1) as reader:
        for number in range(start, len(grid.tops)):
            if number > start:
                _move_up(buffer, absent, (grid.tops[number] - grid.tops[number - 1]) // cell)
            tiles = grid.row(number)
            for tile, values, missing in _results(
                model, scene, tiles, window, reader, batch_size=batch_size, turns=turns
            ):
                into = slice(tile.left // cell, (tile.left + grid.size) // cell)
                absent[:, into] &= missing
                if values is not None:
                    buffer[:, :, into] += values * grid.weights(tile, cell)
            if number < first:
                continue
            top = grid.tops[number] // cell
            last = number + 1 == len(grid.tops)
            bottom = height if last else grid.tops[number + 1] // cell
            done = min(bottom, rows) - top
            weight = np.outer(row_total[top : top + done], column_total[:columns])
            lacking = absent[:done, :columns].copy()
            values = np.where(lacking, 0, buffer[:, :done, :columns] / weight)
            yield Strip(number, top, values.astype(np.float32, copy=False), lacking)


def _move_up(buffer: NDArray[np.float32], absent: NDArray[np.bool_], rows: int) -> None:
    """Forget the rows that are done, and begin as many anew."""
    kept = buffer.shape[1] - rows
    buffer[:, :kept] = buffer[:, rows:].copy()
    buffer[:, kept:] = 0
    absent[:kept] = absent[rows:].copy()
    absent[kept:] = True


def _results(
    model: DenseModel,
    scene: Readable,
    tiles: Sequence[Window],
    area: Window,
    reader: ThreadPoolExecutor,
    *,
    batch_size: int,
    turns: bool,
) -> Iterator[tuple[Window, NDArray[np.float32] | None, NDArray[np.bool_]]]:
    """Tile, its result (None where it has no valid pixel), and which cells have none."""

    def read(some: Sequence[Window]) -> list[tuple[NDArray[np.generic], NDArray[np.bool_]]]:
        return [read_inside(scene, tile, area, model.fill) for tile in some]

    batches = [tiles[n : n + batch_size] for n in range(0, len(tiles), batch_size)]
    ahead: Future[list[tuple[NDArray[np.generic], NDArray[np.bool_]]]]
    ahead = reader.submit(read, batches[0])
    for number, batch in enumerate(batches):
        found = ahead.result()
        if number + 1 < len(batches):
            ahead = reader.submit(read, batches[number + 1])
        valid = [n for n, (_, missing) in enumerate(found) if not missing.all()]
        results: dict[int, NDArray[np.float32]] = {}
        if valid:
            pixels = torch.from_numpy(np.stack([found[n][0] for n in valid]))
            results = dict(zip(valid, _apply(model, pixels, turns=turns).numpy(), strict=True))
        for n, tile in enumerate(batch):
            cells = found[n][1].reshape(tile.height // model.cell, model.cell, -1, model.cell)
            yield tile, results.get(n), np.logical_and.reduce(cells, axis=(1, 3))


def read_inside(
    scene: Readable, tile: Window, area: Window, fill: Sequence[float]
) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
    """A tile of an area; what lies beyond the area is missing, and repeats its border."""
    inside = tile.inside(area.height, area.width)
    values, missing = scene.read(
        inside._replace(top=area.top + inside.top, left=area.left + inside.left)
    )
    for band, value in zip(values, fill, strict=True):
        band[missing] = value
    more = ((0, tile.height - inside.height), (0, tile.width - inside.width))
    padded = np.pad(values, ((0, 0), *more), mode="edge")
    return padded, np.pad(missing, more, constant_values=True)


@torch.inference_mode()
def _apply(model: DenseModel, pixels: Tensor, *, turns: bool) -> Tensor:
    if not turns:
        return model(pixels).float().cpu()
    total: Tensor | float = 0.0
    for quarter in range(4):
        for flip in ((), (-1,)):
            seen = model(pixels.rot90(quarter, (-2, -1)).flip(flip)).float().cpu()
            total = total + seen.flip(flip).rot90(-quarter, (-2, -1))
    assert isinstance(total, Tensor)
    return total / 8
