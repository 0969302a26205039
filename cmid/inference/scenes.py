"""Whole scenes, read part by part: one raster, or several of one grid side by side."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmid.data.process_cache import ProcessCache
from cmid.data.raster_files import (
    SceneFile,
    UsualValues,
    check_nodata,
    common_bands,
    common_kind,
    inspect,
)
from cmid.data.raster_grids import opened_at
from cmid.data.raster_paths import find_rasters
from cmid.data.raster_reading import as_values, read_stored
from cmid.data.rasters import one_line_errors, opened, rasterio_module, warn_of_transparency
from cmid.data.sensors import Sensor, find_sensor
from cmid.data.values import UNSCALED, ValueKind
from cmid.data.windows import Window

_OPEN_SCENES = 16


@dataclass(frozen=True)
class Area:
    """Where a raster lies.

    Attributes:
        height, width: in pixels. crs: its reference system, None without one.
        transform: affine transform of pixels to its coordinates.
    """

    height: int
    width: int
    crs: Any
    transform: Any

    def part(self, window: Window, cell: int = 1) -> Area:
        """The area of a window of it, in cells of ``cell`` pixels."""
        height, width = (-(-length // cell) for length in window[2:])
        moved = self.transform * self.transform.translation(window.left, window.top)
        return Area(height, width, self.crs, moved * moved.scale(cell))

    def window(self, bounds: Sequence[float]) -> Window:
        """The pixels of ``left bottom right top`` in coordinates of ``crs``; all of their corners.

        Raises:
            ValueError: they lie outside.
        """
        left, bottom, right, top = bounds
        corners = ((left, top), (right, top), (right, bottom), (left, bottom))
        columns, rows = zip(*(~self.transform * corner for corner in corners), strict=True)
        (first, last), (above, below) = (
            (round(min(ends)), round(max(ends))) for ends in (columns, rows)
        )
        return self.clip(Window(above, first, below - above, last - first))

    def clip(self, window: Window) -> Window:
        """The part of a window that lies within; raises ValueError where none does."""
        top, left = max(0, window.top), max(0, window.left)
        height = min(self.height, window.top + window.height) - top
        width = min(self.width, window.left + window.width) - left
        if height < 1 or width < 1:
            raise ValueError(
                f"the area of {window.width} x {window.height} pixels at column {window.left}, row"
                f" {window.top} lies outside the scene of {self.width} x {self.height}"
            )
        return Window(top, left, height, width)


class Scene:
    """Rasters of one grid as one, the first where they overlap; nothing is read ahead.

    Args:
        paths: files, folders or patterns, see `cmid.data.RasterWindows`.
        bands, sensor, nodata, physical: as there.
        resolution: side of the pixels in units of the first raster's reference system; all are
            resampled to it while they are read, and need not be of one grid.

    Raises:
        FileNotFoundError: no raster is there.
        ValueError: rasters of different reference systems, resolutions or shifted grids, of
            different bands or kinds of values; or none can hold ``nodata``.
        ModuleNotFoundError: rasterio is not installed.
    """

    def __init__(
        self,
        paths: str | os.PathLike[str] | Sequence[str],
        *,
        bands: Sequence[int | str] | None = None,
        sensor: str | Sensor | None = None,
        nodata: float | None = None,
        resolution: float | None = None,
        physical: bool = True,
    ) -> None:
        known = None if sensor is None else find_sensor(sensor)
        found = find_rasters(paths)
        crs = None
        if resolution is not None:
            with opened(found[0]) as first:
                crs = first.crs
        files = [inspect(path, resolution, crs=crs) for path in found]
        self.bands, self.band_names = common_bands(files, bands, known)
        warn_of_transparency(found[0], bands)
        self.usual = UsualValues.of(known, self.band_names)
        self.files = [
            file.completed(self.bands, self.usual) if physical else file for file in files
        ]
        self.kind: ValueKind = common_kind(self.files, self.bands, physical=physical)
        check_nodata(self.files, self.bands, nodata)
        self.nodata = nodata
        self.name = self.files[0].path
        usual = None if self.usual is None else self.usual.nodata
        self._opened = functools.partial(
            opened_at, resolution=resolution, crs=crs, nodata=nodata, usual=usual
        )
        self._scenes: ProcessCache[Any] = ProcessCache(_OPEN_SCENES, drop=lambda old: old.close())
        areas = []
        for path in found:
            with self._opened(path) as scene:
                areas.append(Area(scene.height, scene.width, scene.crs, scene.transform))
        self.area, self._places = _mosaic(found, areas)

    def read(
        self, window: Window, fill: Sequence[float] | float = 0
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values of a part, and which pixels have none.

        Args:
            window: it may reach over the scene's border.
            fill: what pixels without a value take, one number or one of each band.

        Returns:
            ``(C, H, W)`` uint8 or float32; ``(H, W)`` bool, True where any band is missing, or no
            raster lies.

        Raises:
            UnreadableImageError: a file is damaged.
        """
        dtype = np.uint8 if self.kind.is_8bit else np.float32
        values = np.zeros((len(self.bands), window.height, window.width), dtype)
        missing = np.ones((window.height, window.width), dtype=bool)
        for file, place in zip(self.files, self._places, strict=True):
            top, left = max(window.top, place.top), max(window.left, place.left)
            bottom = min(window.top + window.height, place.top + place.height)
            right = min(window.left + window.width, place.left + place.width)
            if top >= bottom or left >= right:
                continue
            part = Window(top - place.top, left - place.left, bottom - top, right - left)
            found, absent = self._values(file, part)
            into = Window(top - window.top, left - window.left, *part[2:]).slices
            new = missing[into] & ~absent
            np.copyto(values[:, into[0], into[1]], found, where=new)
            missing[into] &= absent
        return filled(values, missing, fill)

    def _values(self, file: SceneFile, part: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        scene = self._scenes.get(file.path, lambda: self._opened(file.path))
        nodata = self.nodata
        if nodata is None and self.usual is not None:
            nodata = self.usual.nodata_of(scene, self.bands)
        window = rasterio_module().windows.Window.from_slices(*part.slices)
        with one_line_errors(file.path):
            stored = read_stored(scene, self.bands, nodata=nodata, shape=part[2:], window=window)
        scale = file.scale_of(self.bands) if self.kind.scaled else UNSCALED
        values, missing = as_values(stored, scale)
        if missing is None:
            return values, np.zeros(part[2:], dtype=bool)
        return values, np.logical_or.reduce(missing)


def filled(
    values: NDArray[Any], missing: NDArray[np.bool_], fill: Sequence[float] | float
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Values and what is missing, which takes a number, or one of each band."""
    np.copyto(values, np.reshape(fill, (-1, 1, 1)), where=missing, casting="unsafe")
    return values, missing


def _mosaic(paths: Sequence[str], areas: Sequence[Area]) -> tuple[Area, list[Window]]:
    """The common area, and the window of each raster in it."""
    first = areas[0]
    inverse = ~first.transform
    places = []
    for path, area in zip(paths, areas, strict=True):
        relative = inverse * area.transform
        shift = round(relative.c), round(relative.f)
        same = relative.almost_equals(relative.translation(*shift), precision=1e-3)
        if area.crs != first.crs or not same:
            other = f"{path} has another grid than {paths[0]}"
            raise ValueError(f"{other} ({_difference(first, area)}): give --resolution")
        places.append(Window(shift[1], shift[0], area.height, area.width))
    top, left = min(place.top for place in places), min(place.left for place in places)
    bottom = max(place.top + place.height for place in places)
    right = max(place.left + place.width for place in places)
    moved = [place._replace(top=place.top - top, left=place.left - left) for place in places]
    whole = first.part(Window(top, left, bottom - top, right - left))
    return replace(whole, height=bottom - top, width=right - left), moved


def _difference(first: Area, second: Area) -> str:
    """In what two grids differ."""
    if first.crs != second.crs:
        return f"reference systems {first.crs} and {second.crs}"
    grids = [area.transform for area in (first, second)]
    sides = [round(math.hypot(grid.a, grid.d), 9) for grid in grids]
    if sides[0] != sides[1]:
        return f"pixels of {sides[0]} and {sides[1]}"
    return "rotated, or shifted by parts of a pixel"
