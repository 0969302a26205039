"""A scene on the grid of another one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmid.data.rasters import geo_module, rasterio_module
from cmid.data.windows import Window
from cmid.inference.scenes import Area, Scene, filled

# Pixels around what a window needs of the source: bilinear weights, and the bend between the
# points by which its outline is projected.
_MARGIN = 4


class WarpedScene:
    """A scene resampled to a grid, window by window; missing where the scene is, or ends.

    Values are interpolated between neighbours that are there; where the new pixels are larger,
    averaged.

    Args:
        scene: with a reference system. area: the grid.

    Raises:
        ValueError: a reference system is missing, or the scene lies elsewhere.
    """

    def __init__(self, scene: Scene, area: Area) -> None:
        if scene.area.crs is None or area.crs is None:
            raise ValueError(f"{scene.name} cannot be warped: both grids need a reference system")
        self.scene, self.area = scene, area
        self.name, self.bands, self.kind = scene.name, scene.bands, scene.kind
        self.files = scene.files
        if self._source(area) is None:
            raise ValueError(
                f"{scene.name} lies wholly outside the grid that it is warped to: give a scene of"
                " the same place"
            )

    def read(
        self, window: Window, fill: Sequence[float] | float = 0
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """As `Scene.read`."""
        there = self.area.part(window)
        source = self._source(there)
        found = np.full((len(self.bands), window.height, window.width), np.nan, dtype=np.float32)
        if source is not None:
            values, missing = self.scene.read(source)
            values = values.astype(np.float32)
            values[:, missing] = np.nan
            geo_module("rasterio.warp").reproject(
                values,
                found,
                src_crs=self.scene.area.crs,
                src_transform=self.scene.area.part(source).transform,
                src_nodata=np.nan,
                dst_crs=there.crs,
                dst_transform=there.transform,
                dst_nodata=np.nan,
                resampling=rasterio_module().enums.Resampling.bilinear,
            )
        absent: NDArray[np.bool_] = np.logical_or.reduce(np.isnan(found))
        found[:, absent] = 0
        values = np.rint(found).astype(np.uint8) if self.kind.is_8bit else found
        return filled(values, absent, fill)

    def _source(self, there: Area) -> Window | None:
        """The part of the scene that an area needs; None where they do not meet."""
        transform = geo_module("rasterio.warp").transform
        steps = np.linspace(0, 1, 22)
        edge = np.concatenate([[(t, 0), (t, 1), (0, t), (1, t)] for t in steps])
        x, y = there.transform * (edge * (there.width, there.height)).T
        x, y = map(np.array, transform(there.crs, self.scene.area.crs, x, y))
        columns, rows = ~self.scene.area.transform * (x, y)
        if not np.isfinite([columns, rows]).all():
            return None
        left, top = math.floor(columns.min()) - _MARGIN, math.floor(rows.min()) - _MARGIN
        right, bottom = math.ceil(columns.max()) + _MARGIN, math.ceil(rows.max()) + _MARGIN
        whole = self.scene.area
        if right <= 0 or bottom <= 0 or left >= whole.width or top >= whole.height:
            return None
        return whole.clip(Window(top, left, bottom - top, right - left))
