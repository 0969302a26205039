"""Objects of whole scenes: boxes of tiles, each object once, as polygons where the scene lies."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from cmid.data.rasters import geo_module
from cmid.data.windows import Window
from cmid.inference.earlier import refuse_other
from cmid.inference.scenes import Area
from cmid.inference.tiled import TiledScene
from cmid.inference.tiles import TileGrid
from cmid.inference.unfinished import Unfinished
from cmid.inference.vectors import Columns, check_vectors, write_features


@dataclass(frozen=True, eq=False)
class Boxes:
    """Objects that were found.

    Attributes:
        boxes: ``(N, 5)`` float64: centre x and y, width, height in pixels, angle in radians
            (clockwise on the screen).
        scores: ``(N,)`` in [0, 1]. labels: ``(N,)`` class numbers.
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]

    @classmethod
    def of(cls, table: NDArray[np.float64]) -> Boxes:
        """Of the columns of `table`."""
        return cls(table[:, :5], table[:, 5], table[:, 6].astype(np.int64))

    @property
    def table(self) -> NDArray[np.float64]:
        """``(N, 7)``: the box, its score and its label."""
        return np.column_stack([self.boxes, self.scores, self.labels]).astype(np.float64)

    def __getitem__(self, index: NDArray[Any]) -> Boxes:
        return Boxes(self.boxes[index], self.scores[index], self.labels[index])


class BoxModel(Protocol):
    """A model that finds objects in tiles.

    Attributes:
        stride, fill: as of `cmid.inference.streaming.DenseModel`. classes: by number.
    """

    @property
    def stride(self) -> int: ...

    @property
    def fill(self) -> Sequence[float]: ...

    @property
    def classes(self) -> Sequence[str]: ...

    def __call__(self, pixels: Tensor) -> list[Boxes]:
        """``(B, C, S, S)`` stored values to the objects of each tile, in its pixels."""

    def merge(self, found: Boxes) -> NDArray[np.int64]:
        """Which boxes remain where several show the same object."""


class FoundBoxes(NamedTuple):
    """Objects of a row of tiles: its number, and boxes in pixels of the mapped window."""

    number: int
    boxes: Boxes


def find_boxes(
    model: BoxModel, tiled: TiledScene, *, turns: bool = False, first: int = 0
) -> Iterator[FoundBoxes]:
    """Apply a model to a part of a scene, row of tiles by row of tiles.

    A tile gives the objects whose centre lies no closer to its border than the grid's ``halo``, so
    that an object up to twice as long is whole in the tile that gives it; over ``overlap`` pixels
    two tiles give the same ones, see `BoxModel.merge`. Centres on missing pixels do not count, and
    tiles without a valid pixel are not computed.

    Args:
        turns: look at the eight flips and quarter turns of every tile, too.
        first: the first row that is wanted.
    """
    last = len(tiled.grid.lefts) - 1
    kept: list[NDArray[np.float64]] = []
    look = functools.partial(_look, model, turns=turns)
    for tile, found in tiled.results(look, fill=model.fill, start=first):
        if found is not None:
            place = tiled.grid.tile(tile.row, tile.column)
            kept.append(_own(found, tiled.grid, place, tile.missing).table)
        if tile.column == last:
            if tile.row >= first:
                yield FoundBoxes(tile.row, Boxes.of(np.concatenate([np.zeros((0, 7)), *kept])))
            kept = []


def write_boxes(
    out: Path,
    model: BoxModel,
    rows: Callable[[int], Iterator[FoundBoxes]],
    *,
    count: int,
    area: Area,
    job: Mapping[str, Any],
    resume: bool = False,
) -> list[Path]:
    """Write the objects of a scene, best scores first: ``class``, ``score`` and a polygon each.

    Args:
        rows: the boxes of rows of tiles, from a number on.
        count: how many rows there are.
        area: where pixel (0, 0) of the boxes lies.
        job, resume: as of `cmid.inference.writing.write_maps`, likewise what is raised.

    Returns:
        ``out/boxes.parquet`` and ``out/boxes.gpkg``.
    """
    check_vectors()
    for ending in ("parquet", "gpkg"):
        refuse_other(out / f"boxes.{ending}", job)
    unfinished = Unfinished(out, job, names=["boxes"], count=count, resume=resume)
    first = unfinished.first
    with tqdm(total=count, initial=first, desc="map", unit="strip", disable=None) as bar:
        for row in rows(first) if first < count else ():
            unfinished.save(row.number, [row.boxes.table])
            bar.update()
    parts = [unfinished.load("boxes", number) for number in range(count)]
    found = Boxes.of(np.concatenate(parts))
    found = found[model.merge(found)]
    found = found[np.argsort(-found.scores, kind="stable")]
    columns = _columns(found, model.classes, area)
    paths = write_features(out / "boxes", iter([columns]), crs=area.crs, job=json.dumps(job))
    unfinished.remove()
    return paths


def polygons(boxes: NDArray[np.float64], transform: Any) -> NDArray[Any]:
    """``(N,)`` polygons of ``(N, 5)`` boxes, in the coordinates that an affine transform gives."""
    shapely = geo_module("shapely", "features")

    x, y, width, height, angle = boxes.T[..., None]
    along, across = np.array([-1, 1, 1, -1]) * width / 2, np.array([-1, -1, 1, 1]) * height / 2
    columns = x + along * np.cos(angle) - across * np.sin(angle)
    rows = y + along * np.sin(angle) + across * np.cos(angle)
    t = transform
    corners = t.a * columns + t.b * rows + t.c, t.d * columns + t.e * rows + t.f
    return shapely.polygons(np.stack(corners, axis=-1))


def _columns(found: Boxes, classes: Sequence[str], area: Area) -> Columns:
    return {
        "class": np.array(classes, dtype=str)[found.labels],
        "score": found.scores.astype(np.float32),
        "geometry": polygons(found.boxes, area.transform),
    }


def _own(found: Boxes, grid: TileGrid, tile: Window, missing: NDArray[np.bool_]) -> Boxes:
    """The boxes that a tile gives, in pixels of the window."""
    centres = found.boxes[:, :2]
    own = (centres >= 0).all(axis=1) & (centres < tile.height).all(axis=1)
    for axis, (start, starts) in enumerate(((tile.left, grid.lefts), (tile.top, grid.tops))):
        low = 0 if start == starts[0] else grid.halo
        high = tile.height - (0 if start == starts[-1] else grid.halo)
        own &= (centres[:, axis] >= low) & (centres[:, axis] < high)
    columns, rows = centres.clip(0, tile.height - 1).astype(int).T
    own &= ~missing[rows, columns]
    kept = found[np.flatnonzero(own)]
    moved = np.array([tile.left, tile.top, 0, 0, 0])
    return Boxes(kept.boxes + moved, kept.scores, kept.labels)


@torch.inference_mode()
def _look(model: BoxModel, pixels: Tensor, *, turns: bool) -> list[Boxes]:
    """The objects of each tile; with turns those of all flips and quarter turns, turned back."""
    if not turns:
        return model(pixels)
    seen = []
    for quarter in range(4):
        for flip in (False, True):
            turned = pixels.rot90(quarter, (-2, -1))
            found = model(turned.flip(-1) if flip else turned)
            seen.append([_turned_back(each, quarter, flip, pixels.shape[-1]) for each in found])
    return [
        Boxes.of(np.concatenate([each.table for each in views]))
        for views in zip(*seen, strict=True)
    ]


def _turned_back(found: Boxes, quarter: int, flip: bool, side: int) -> Boxes:
    x, y, width, height, angle = found.boxes.T
    if flip:
        x, angle = side - x, -angle
    for _ in range(quarter):  # clockwise, as the picture was turned counter-clockwise
        x, y, angle = side - y, x, angle + np.pi / 2
    return Boxes(np.stack([x, y, width, height, angle], axis=1), found.scores, found.labels)
