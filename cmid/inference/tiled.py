"""A part of a scene in tiles: they are read ahead, a model sees them in batches."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmid.data.windows import Window
from cmid.inference.tiles import TileGrid

Result = TypeVar("Result")


class Readable(Protocol):
    """A scene, see `cmid.inference.scenes.Scene`, or an image."""

    def read(
        self, window: Window, fill: Sequence[float] | float = 0
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """``(C, H, W)`` values of a part, ``fill`` where there are none; ``(H, W)``, where."""


class Tile(NamedTuple):
    """A tile that was read.

    Attributes:
        row, column: its place in the grid, by number.
        pixels: ``(C, size, size)``. missing: ``(size, size)`` bool.
    """

    row: int
    column: int
    pixels: NDArray[np.generic]
    missing: NDArray[np.bool_]


@dataclass(frozen=True)
class TiledScene:
    """A part of a scene, and the tiles in which a model sees it.

    Attributes:
        window: the part, in pixels of the scene. grid: tiles of the window.
        batch_size: tiles at a time.
    """

    scene: Readable
    window: Window
    grid: TileGrid
    batch_size: int = 4

    def results(
        self,
        model: Callable[[Tensor], Iterable[Result]],
        *,
        fill: Sequence[float],
        start: int = 0,
    ) -> Iterator[tuple[Tile, Result | None]]:
        """What a model says of each tile, row by row: None where it has no valid pixel.

        Two batches of tiles are held, and the results of one.

        Args:
            model: tells something of each of ``(B, C, size, size)`` stored values.
            fill: the stored value of each band that missing pixels take.
            start: the row of tiles that is needed first; those before it that share a batch with
                it come, too.
        """
        batches = self._batches(start)

        def read() -> list[Tile]:
            return [self._read(*place, fill) for place in next(batches, ())]

        with ThreadPoolExecutor(1) as reader:
            ahead = reader.submit(read)
            while batch := ahead.result():
                ahead = reader.submit(read)
                valid = [tile.pixels for tile in batch if not tile.missing.all()]
                found = iter(model(torch.from_numpy(np.stack(valid))) if valid else ())
                for tile in batch:
                    yield tile, None if tile.missing.all() else next(found)
                del found  # before there are the next ones

    def _batches(self, start: int) -> Iterator[list[tuple[int, int]]]:
        """Row and column of tiles; a batch holds whole rows where it can.

        A tile has the same company wherever the work begins, as a batch of another size may round
        otherwise.
        """
        rows, columns = len(self.grid.tops), len(self.grid.lefts)
        together = max(1, self.batch_size // columns)
        for top in range(start - start % together, rows, together):
            some = range(top, min(top + together, rows))
            tiles = [*itertools.product(some, range(columns))]
            for first in range(0, len(tiles), self.batch_size):
                yield tiles[first : first + self.batch_size]

    def _read(self, row: int, column: int, fill: Sequence[float]) -> Tile:
        """What lies beyond the window is missing, and repeats its border."""
        tile = self.grid.tile(row, column)
        inside = tile.inside(self.window.height, self.window.width)
        top, left = self.window.top + inside.top, self.window.left + inside.left
        values, missing = self.scene.read(inside._replace(top=top, left=left), fill)
        more = ((0, tile.height - inside.height), (0, tile.width - inside.width))
        padded = np.pad(values, ((0, 0), *more), mode="edge")
        return Tile(row, column, padded, np.pad(missing, more, constant_values=True))
