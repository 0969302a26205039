"""A model over a scene, strip by strip: tiles are read ahead, and results stitched in order."""

from __future__ import annotations

import itertools
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

    def read(
        self, window: Window, fill: Sequence[float] | float = 0
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """``(C, H, W)`` values of a part, ``fill`` where there are none; ``(H, W)``, where."""


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
    """Apply a model to a part of a scene, see `stitched`.

    Args:
        window: the part, in pixels of the scene.
        turns: average over the eight flips and quarter turns of every tile.
    """
    options: dict[str, Any] = {
        "window": window,
        "batch_size": batch_size,
        "turns": turns,
        "first": first,
    }
    for number, row, values, missing in stitched(model, scene, grid, **options):
        yield Strip(number, row, values.numpy(), missing)


def stitched(
    model: DenseModel,
    scene: Readable,
    grid: TileGrid,
    *,
    window: Window,
    batch_size: int = 8,
    turns: bool = False,
    first: int = 0,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[int, int, Tensor, NDArray[np.bool_]]]:
    """What a model says of a part of a scene, row of tiles by row of tiles.

    Held are one row of tiles of results, and two batches of tiles, whatever the scene's height.
    Tiles without a valid pixel are not computed. The same arguments give the same numbers, also
    from a later strip on.

    Args:
        grid: tiles of the window. window: the part, in pixels of the scene.
        batch_size: tiles at a time.
        turns: average over the eight flips and quarter turns of every tile.
        first: the first strip that is wanted; tiles before it are computed only where they reach
            into it.
        device: where results are put together.

    Returns:
        Number, first row of cells, ``(channels, rows, columns)`` float32 and ``(rows, columns)``
        bool, as of a `Strip`.
    """
    cell = model.cell
    height, width = (length // cell for length in grid.padded)
    rows, columns = (-(-length // cell) for length in window[2:])
    row_total, column_total = (torch.from_numpy(total).to(device) for total in grid.totals(cell))
    side = grid.size // cell
    buffer = torch.zeros(model.channels, side, width, device=device)
    absent = np.ones((side, width), dtype=bool)
    reached = grid.tops[first]
    start = next(n for n, top in enumerate(grid.tops) if top + grid.size > reached)
    batches = _batches(grid, batch_size, start)
    results = _results(model, scene, batches, window, turns=turns, device=device)
    above = None
    for number, tiles in itertools.groupby(results, key=lambda result: result[0]):
        if above is not None:
            _move_up(buffer, absent, (grid.tops[number] - grid.tops[above]) // cell)
        above = number
        for _, tile, values, missing in tiles:
            into = slice(tile.left // cell, (tile.left + grid.size) // cell)
            absent[:, into] &= missing
            if values is not None:
                weights = torch.from_numpy(grid.weights(tile, cell)).to(device)
                buffer[:, :, into] += values * weights
        if number < first:
            continue
        top = grid.tops[number] // cell
        last = number + 1 == len(grid.tops)
        done = min(height if last else grid.tops[number + 1] // cell, rows) - top
        weight = torch.outer(row_total[top : top + done], column_total[:columns])
        lacking = absent[:done, :columns].copy()
        known = buffer[:, :done, :columns] / weight
        yield number, top, known.masked_fill_(torch.from_numpy(lacking).to(device), 0), lacking


def _batches(grid: TileGrid, size: int, start: int) -> Iterator[list[tuple[int, Window]]]:
    """Tiles with the number of their row, from a row on; a batch holds whole rows where it can.

    A tile has the same company wherever the work begins, as a batch of another size may round
    otherwise.
    """
    together = max(1, size // len(grid.lefts))
    for top in range(start - start % together, len(grid.tops), together):
        numbers = range(top, min(top + together, len(grid.tops)))
        tiles = [(number, tile) for number in numbers for tile in grid.row(number)]
        for first in range(0, len(tiles), size):
            yield tiles[first : first + size]


def _move_up(buffer: Tensor, absent: NDArray[np.bool_], rows: int) -> None:
    """Forget the rows that are done, and begin as many anew."""
    kept = buffer.shape[1] - rows
    buffer[:, :kept] = buffer[:, rows:].clone()
    buffer[:, kept:] = 0
    absent[:kept] = absent[rows:].copy()
    absent[kept:] = True


def _results(
    model: DenseModel,
    scene: Readable,
    batches: Iterator[list[tuple[int, Window]]],
    area: Window,
    *,
    turns: bool,
    device: torch.device | str,
) -> Iterator[tuple[int, Window, Tensor | None, NDArray[np.bool_]]]:
    """Row, tile, its result (None where it has no valid pixel), and which cells have none."""

    def read(some: Sequence[tuple[int, Window]] | None) -> list[Any]:
        return [(*at, *read_inside(scene, at[1], area, model.fill)) for at in some or ()]

    with ThreadPoolExecutor(1) as reader:
        ahead: Future[list[Any]] = reader.submit(read, next(batches))
        while batch := ahead.result():
            ahead = reader.submit(read, next(batches, None))
            valid = [pixels for _, _, pixels, missing in batch if not missing.all()]
            found: Iterator[Tensor] = iter(())
            if valid:
                stacked = torch.from_numpy(np.stack(valid))
                found = iter(_apply(model, stacked, turns=turns).to(device))
            for number, tile, _, missing in batch:
                cells = missing.reshape(tile.height // model.cell, model.cell, -1, model.cell)
                result = None if missing.all() else next(found)
                yield number, tile, result, np.logical_and.reduce(cells, axis=(1, 3))


def read_inside(
    scene: Readable, tile: Window, area: Window, fill: Sequence[float]
) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
    """A tile of an area; what lies beyond the area is missing, and repeats its border."""
    inside = tile.inside(area.height, area.width)
    place = inside._replace(top=area.top + inside.top, left=area.left + inside.left)
    values, missing = scene.read(place, fill)
    more = ((0, tile.height - inside.height), (0, tile.width - inside.width))
    padded = np.pad(values, ((0, 0), *more), mode="edge")
    return padded, np.pad(missing, more, constant_values=True)


@torch.inference_mode()
def _apply(model: DenseModel, pixels: Tensor, *, turns: bool) -> Tensor:
    if not turns:
        return model(pixels).float()
    total: Tensor | float = 0.0
    for quarter in range(4):
        for flip in ((), (-1,)):
            seen = model(pixels.rot90(quarter, (-2, -1)).flip(flip)).float()
            total = total + seen.flip(flip).rot90(-quarter, (-2, -1))
    assert isinstance(total, Tensor)
    return total / 8
