"""A model over a scene, piece by piece: results of tiles are stitched while they come."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmid.inference.blending import Blend
from cmid.inference.tiled import TiledScene


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
class Piece:
    """A part of the result; pieces come strip by strip, from left to right.

    Attributes:
        number: which row of tiles the strip ends with.
        row, column: its first cell.
        values: ``(channels, rows, columns)`` float32.
        missing: ``(rows, columns)`` bool, cells without a valid pixel; their values are 0.
    """

    number: int
    row: int
    column: int
    values: NDArray[np.float32]
    missing: NDArray[np.bool_]


def map_scene(
    model: DenseModel, tiled: TiledScene, *, turns: bool = False, first: int = 0
) -> Iterator[Piece]:
    """Apply a model to a part of a scene, see `stitched`."""
    for number, row, column, values, missing in stitched(model, tiled, turns=turns, first=first):
        yield Piece(number, row, column, values.numpy(), missing)


def stitched(
    model: DenseModel,
    tiled: TiledScene,
    *,
    turns: bool = False,
    first: int = 0,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[int, int, int, Tensor, NDArray[np.bool_]]]:
    """What a model says of a part of a scene, piece by piece.

    With each tile those cells come that no later tile adds to, so that what is held does not grow
    with the scene's height: see `Blend` and `TiledScene.results`. Tiles without a valid pixel are
    not computed. The same arguments give the same numbers, also from a later strip on.

    Args:
        turns: average over the eight flips and quarter turns of every tile.
        first: the first strip that is wanted; tiles before it are computed only where they reach
            into it.
        device: where results are put together.

    Returns:
        Number, first row, first column, ``(channels, rows, columns)`` float32 and ``(rows,
        columns)`` bool, as of a `Piece`.
    """
    cell = model.cell
    height, width = (-(-length // cell) for length in tiled.window[2:])
    blend = Blend(tiled.grid, channels=model.channels, cell=cell, device=device)
    reached = blend.rows[first].first
    start = next(n for n, row in enumerate(blend.rows) if row.stop > reached)
    apply = functools.partial(_apply, model, turns=turns)
    for tile, values in tiled.results(apply, fill=model.fill, start=start):
        known = blend.add(tile.row, tile.column, None if values is None else values.to(device))
        del values  # with it goes a batch of them, before there is the next one
        if tile.row < first:
            continue
        row, column = blend.rows[tile.row], blend.columns[tile.column]
        bottom, right = min(row.done, height), min(column.done, width)
        side = tiled.grid.size // cell
        cells = tile.missing.reshape(side, cell, side, cell)
        missing = np.logical_and.reduce(cells, axis=(1, 3))[
            row.first - row.start : bottom - row.start,
            column.first - column.start : right - column.start,
        ]
        known = known[:, : bottom - row.first, : right - column.first]
        known.masked_fill_(torch.from_numpy(missing).to(device), 0)
        yield tile.row, row.first, column.first, known, missing


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
