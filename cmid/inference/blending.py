"""Results of overlapping tiles become one, while only what later tiles add to is held."""

from __future__ import annotations

import torch
from torch import Tensor

from cmid.inference.tiles import TileGrid


class Blend:
    """Weighted means of what tiles say, which come row by row from left to right.

    Held are sums: over the columns that the next tile adds to, and over the rows that the next row
    of tiles adds to, ``overlap`` of them along the width of the scene.

    Args:
        channels: numbers of a cell. cell: pixels per cell.
        device: where the sums are.
    """

    def __init__(
        self, grid: TileGrid, *, channels: int, cell: int, device: torch.device | str = "cpu"
    ) -> None:
        self.grid, self.cell = grid, cell
        self.rows, self.columns = grid.reaches(cell)
        self._totals = [torch.from_numpy(total).to(device) for total in grid.totals(cell)]
        shared = max(row.stop - row.done for row in self.rows)
        self._below = torch.zeros(channels, shared, self.columns[-1].stop, device=device)
        self._beside = self._below[:, :, :0]

    def add(self, row: int, column: int, values: Tensor | None) -> Tensor:
        """Add a tile; the cells that no later tile counts for.

        Args:
            row, column: of tiles, by number.
            values: ``(channels, size / cell, size / cell)`` float32, None for zeros.

        Returns:
            Their means, ``(channels, done - first, done - first)`` of the row's and the column's
            `Reach`.
        """
        down, across = self.rows[row], self.columns[column]
        side = self.grid.size // self.cell
        total = self._below.new_zeros(len(self._below), side, side)
        left = across.first
        if column:
            left = self.columns[column - 1].stop  # sums beside hold those below, too
            total[:, :, across.first - across.start : left - across.start] = self._beside
        if row:
            held = self.rows[row - 1].stop
            into = slice(down.first - down.start, held - down.start)
            total[:, into, left - across.start : across.stop - across.start] = self._below[
                :, : held - down.first, left : across.stop
            ]
        if values is not None:
            weights = torch.from_numpy(self.grid.weights(self.grid.tile(row, column), self.cell))
            total += values * weights.to(total.device)
        self._beside = total[:, :, across.done - across.start : across.stop - across.start]
        complete = total[:, :, across.first - across.start : across.done - across.start]
        self._below[:, : down.stop - down.done, across.first : across.done] = complete[
            :, down.done - down.start : down.stop - down.start
        ]
        weight = torch.outer(
            self._totals[0][down.first : down.done], self._totals[1][across.first : across.done]
        )
        return complete[:, down.first - down.start : down.done - down.start] / weight
