"""Polygons that limit a map to what lies within them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmid.data.rasters import geo_module, rasterio_module
from cmid.data.windows import Window
from cmid.inference.pairs import ScenePair
from cmid.inference.scenes import Area, Scene
from cmid.inference.vectors import read_geometries


class Region:
    """Polygons over a scene; a pixel is inside where its centre is.

    Args:
        path: GeoPackage, GeoJSON, GeoParquet or another file of vectors, in any reference system.
        area: of the scene.
        part: the part of it that counts.

    Attributes:
        window: the smallest part of ``part`` with all that lies in it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no polygon of it lies in the part; or only one of the two has a reference
            system.
        ModuleNotFoundError: the extra ``geo`` is not installed.
    """

    def __init__(self, path: Path, area: Area, part: Window) -> None:
        shapes, crs = read_geometries(path)
        shapely, warp = geo_module("shapely"), geo_module("rasterio.warp")

        if (crs is None) != (area.crs is None):
            raise ValueError(f"{path} or the scene has no reference system: give both one")
        if crs != area.crs:
            # Straight lines of one system are curves in another.
            shapes = shapely.segmentize(shapes, max(np.ptp(shapely.bounds(shapes), axis=0)) / 100)
        inverse = ~area.transform

        def pixels(points: NDArray[np.float64]) -> NDArray[np.float64]:
            x, y = points.T
            if crs != area.crs:
                x, y = map(np.array, warp.transform(crs, area.crs, x, y))
            column = inverse.a * x + inverse.b * y + inverse.c
            return np.column_stack([column, inverse.d * x + inverse.e * y + inverse.f])

        self._shapes = shapely.transform(shapes, pixels)
        self._tree = shapely.STRtree(self._shapes)
        near = self._near(part)
        if not len(near):
            raise ValueError(f"{path}: no polygon lies in what is mapped: check both")
        left, top, right, bottom = shapely.total_bounds(self._shapes[near])
        first, above = max(part.left, int(np.floor(left))), max(part.top, int(np.floor(top)))
        last = min(part.left + part.width, int(np.ceil(right)))
        below = min(part.top + part.height, int(np.ceil(bottom)))
        self.window = Window(above, first, max(1, below - above), max(1, last - first))

    def inside(self, window: Window) -> NDArray[np.bool_]:
        """``(H, W)``, which pixels of a part of the scene are inside."""
        shape = window.height, window.width
        near = self._near(window)
        if not len(near):
            return np.zeros(shape, dtype=bool)
        place = rasterio_module().Affine.translation(window.left, window.top)
        burnt = geo_module("rasterio.features").rasterize(
            self._shapes[near], shape, transform=place
        )
        return burnt.astype(bool)

    def _near(self, window: Window) -> NDArray[np.intp]:
        shapely = geo_module("shapely")

        return self._tree.query(shapely.box(*window.box), predicate="intersects")


class Limited:
    """A scene of which nothing counts but a region; what lies around it is seen as context.

    Where no pixel of a part is inside, nothing is read.
    """

    def __init__(self, scene: Scene | ScenePair, region: Region) -> None:
        self.scene, self.region = scene, region
        self.name, self.area, self.files = scene.name, scene.area, scene.files
        self.bands, self.kind = scene.bands, scene.kind

    def read(
        self, window: Window, fill: Sequence[float] | float = 0
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """As `Scene.read`; outside is missing, too, but keeps its values."""
        inside = self.region.inside(window)
        if not inside.any():
            dtype = np.uint8 if self.kind.is_8bit else np.float32
            return np.zeros((len(self.bands), *inside.shape), dtype=dtype), ~inside
        values, missing = self.scene.read(window, fill)
        return values, missing | ~inside
