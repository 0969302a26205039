"""Rasters that are images as they are: tiles of any bands, one a file."""

from __future__ import annotations

import os
from collections.abc import Sequence

from cmid.data.raster_files import SceneFile, UsualValues, common_bands, common_kind, inspect
from cmid.data.raster_reading import as_image, as_values, read_stored
from cmid.data.rasters import one_line_errors, opened, rasterio_module, warn_of_transparency
from cmid.data.sensors import Sensor, find_sensor
from cmid.data.source import Image, UnreadableImageError
from cmid.data.values import ImageValuesError

ALL = "all"


class RasterTiles:
    """Reads whole rasters: bands, types, units, scale and missing pixels as `RasterWindows` does.

    What a file holds is compared with the first one when it is read.

    Args:
        first: one of the files.
        bands: which bands to read, by name, or counted from 1; None, or ``all`` alone, for all.
        sensor: see `RasterWindows`.

    Attributes:
        num_bands, band_names, sensor: see `ImageSource`.

    Raises:
        ValueError: the first file is no raster or lacks one of ``bands``; or ``sensor`` is unknown.
        ModuleNotFoundError: rasterio is not installed.
    """

    def __init__(
        self,
        first: str | os.PathLike[str],
        *,
        bands: Sequence[int | str] | None = None,
        sensor: str | Sensor | None = None,
    ) -> None:
        rasterio_module("reading bands of rasters")
        self.asked = None if bands is None or [*bands] == [ALL] else tuple(bands)
        self.known = None if sensor is None else find_sensor(sensor)
        scene = inspect(os.fspath(first))
        self.bands, self.band_names = common_bands([scene], self.asked, self.known)
        warn_of_transparency(scene.path, self.asked)
        self.usual = UsualValues.of(self.known, self.band_names)
        self.first = scene.completed(self.bands, self.usual)
        self.first.kind(self.bands)  # refuses bands of several types, and complex ones
        self.num_bands = len(self.bands)
        self.sensor = "" if self.known is None else self.known.name

    def read(self, path: str | os.PathLike[str]) -> Image:
        """A whole raster, without a label.

        Raises:
            UnreadableImageError: missing, damaged or no raster; no valid pixel, or pixels that are
                neither finite nor declared missing.
            ImageValuesError: it has not the bands, the type or the unit of the first one.
        """
        name = os.fspath(path)
        scene = self._inspected(name)
        with one_line_errors(name), opened(name) as file:
            nodata = None if self.usual is None else self.usual.nodata_of(file, self.bands)
            stored = read_stored(file, self.bands, nodata=nodata, shape=file.shape)
        values = as_values(stored, scene.scale_of(self.bands))
        if values[1] is not None and values[1].all(axis=(1, 2)).any():
            raise UnreadableImageError(f"{name}: no valid pixel; check the file and its nodata")
        size = scene.height, scene.width
        return as_image(values, kind=scene.kind(self.bands), full_size=size, name=name)

    def _inspected(self, name: str) -> SceneFile:
        try:
            scene = inspect(name)
        except (OSError, ValueError) as error:
            raise UnreadableImageError(str(error)) from error
        try:
            common_bands([self.first, scene], self.asked, self.known)
            scene = scene.completed(self.bands, self.usual)
            common_kind([self.first, scene], self.bands)
        except ValueError as error:
            raise ImageValuesError(str(error)) from error
        return scene
