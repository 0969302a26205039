"""Classes as polygons: a raster is read strip by strip, and what crosses a seam is joined."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmid.data.rasters import geo_module, opened, rasterio_module
from cmid.inference.earlier import JOB_TAG
from cmid.inference.vectors import Columns, check_vectors, write_features


def write_polygons(classes: Path, *, simplify: float = 0) -> list[Path]:
    """Write the connected areas of each class of a map: their ``class`` and a polygon.

    Pixels are connected where they share a side. Memory holds one strip of the raster, and the
    areas that reach its end.

    Args:
        classes: a raster that `cmid.inference.products.Classes` made.
        simplify: how far a border may move, in units of the reference system. Each polygon is
            simplified alone, so that neighbours may part or overlap by as much.

    Returns:
        ``polygons.parquet`` and ``polygons.gpkg`` beside the raster.
    """
    check_vectors()
    shapely = geo_module("shapely", "polygons")

    def columns() -> Iterator[Columns]:
        with opened(classes) as raster:
            tags = raster.tags(1)
            names = np.array([tags.get(f"class_{n}", str(n)) for n in range(256)])
            t = raster.transform
            for values, areas in joined_areas(raster):
                placed = shapely.transform(
                    areas,
                    lambda xy: np.column_stack(
                        [
                            t.a * xy[:, 0] + t.b * xy[:, 1] + t.c,
                            t.d * xy[:, 0] + t.e * xy[:, 1] + t.f,
                        ]
                    ),
                )
                if simplify:
                    placed = shapely.simplify(placed, simplify)
                yield {"class": names[values], "geometry": placed}

    with opened(classes) as raster:
        crs, job = raster.crs, raster.tags().get(JOB_TAG)
    return write_features(classes.with_name("polygons"), columns(), crs=crs, job=job)


def joined_areas(
    raster: Any, *, rows: int = 512
) -> Iterator[tuple[NDArray[np.uint8], NDArray[Any]]]:
    """Values and polygons, in pixels, of the connected areas of an open raster of one band.

    Args:
        rows: of a strip. Areas come with the strip that they end in.
    """
    rasterio = rasterio_module()
    seam = _Seam(raster.width)
    for top in range(0, raster.height, rows):
        window = rasterio.windows.Window(0, top, raster.width, min(rows, raster.height - top))
        yield seam.add(raster.read(1, window=window), top, nodata=raster.nodata)
    yield seam.rest()


class _Seam:
    """Areas that reach the end of what was read, and the one that each pixel there belongs to."""

    def __init__(self, width: int) -> None:
        self.owners: NDArray[np.int64] = np.full(width, -1)
        self.pieces: dict[int, list[Any]] = {}
        self.values: dict[int, int] = {}
        self.number = 0

    def add(
        self, strip: NDArray[np.uint8], top: int, *, nodata: float | None
    ) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        """Take a strip; the areas that are complete now."""
        new, values = _areas(strip, top, nodata)
        first, self.number = self.number, self.number + len(new)
        upper, lower = (
            first + _touching(new, y, len(self.owners)) for y in (top, top + len(strip))
        )
        upper[upper < first] = lower[lower < first] = -1
        for number, area, value in zip(range(first, self.number), new, values, strict=True):
            self.pieces[number], self.values[number] = [area], value
        into: dict[int, int] = {}

        def root(number: int) -> int:
            while number in into:
                number = into[number]
            return number

        for above, below in {*zip(self.owners.tolist(), upper.tolist(), strict=True)}:
            if min(above, below) < 0 or self.values[above] != self.values[below]:
                continue
            a, b = sorted((root(above), root(below)))
            if a != b:
                into[b] = a
                self.pieces[a] += self.pieces.pop(b)
        roots = {number: root(number) for number in {*lower.tolist()} - {-1}}
        self.owners = np.array([roots.get(number, -1) for number in lower.tolist()])
        return self._release(self.pieces.keys() - {*roots.values()})

    def rest(self) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        """The areas that the border of the raster ends."""
        return self._release({*self.pieces})

    def _release(self, numbers: set[int]) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        shapely = geo_module("shapely", "polygons")

        values, areas = [], np.empty(len(numbers), dtype=object)
        for n, number in enumerate(sorted(numbers)):
            pieces = self.pieces.pop(number)
            values.append(self.values[number])
            # Corners that a seam has left on straight borders go.
            areas[n] = (
                pieces[0] if len(pieces) == 1 else shapely.simplify(shapely.union_all(pieces), 0)
            )
        self.values = {number: self.values[number] for number in self.pieces}
        return np.array(values, dtype=np.uint8), areas


def _areas(
    strip: NDArray[np.uint8], top: int, nodata: float | None
) -> tuple[NDArray[Any], list[int]]:
    shapely = geo_module("shapely", "polygons")
    shapes = geo_module("rasterio.features").shapes

    mask = None if nodata is None else strip != nodata
    found = [
        (shapely.Polygon(shape["coordinates"][0], shape["coordinates"][1:]), int(value))
        for shape, value in shapes(strip, mask=mask)
    ]
    areas = np.array([area for area, _ in found], dtype=object)
    down = np.array([0, top])
    return shapely.transform(areas, lambda xy: xy + down), [value for _, value in found]


def _touching(areas: NDArray[Any], y: int, width: int) -> NDArray[np.int64]:
    """The area, by index, that each pixel at a row's border belongs to; -1 without one."""
    shapely = geo_module("shapely", "polygons")

    owners = np.full(width, -1)
    xy, area = shapely.get_coordinates(shapely.get_exterior_ring(areas), return_index=True)
    along = (area[1:] == area[:-1]) & (xy[1:, 1] == y) & (xy[:-1, 1] == y)
    ends = np.sort(np.stack([xy[:-1, 0], xy[1:, 0]], axis=1)[along]).astype(int)
    for (start, stop), index in zip(ends.tolist(), area[1:][along].tolist(), strict=True):
        owners[start:stop] = index
    return owners
