"""Random windows cut straight from georeferenced scenes of any size, band count and type."""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cmid.data.raster_files import (
    UsualValues,
    common_bands,
    common_kind,
    declared_scale,
    find_rasters,
    inspect,
    read_bands,
)
from cmid.data.rasters import one_line_errors, opened, rasterio_module
from cmid.data.sensors import Sensor, find_sensor
from cmid.data.source import Draws, Image, ImageSource, MinSize, UnreadableImageError
from cmid.data.values import UNSCALED, NotFiniteError, fill_missing, kind_of
from cmid.data.windows import Window, draw_window

_OPEN_SCENES = 16


class RasterWindows(ImageSource):
    """Square windows of rasters, read where they lie; whole scenes are never loaded.

    All indices together spread the windows over the scenes in proportion to their area; the place
    within a scene comes from the generator (without one, from the index alone). A scene smaller
    than the window gives the largest square that fits, without padding.

    uint8 is kept, other types become float32; scale and offset that a file declares for its bands
    are applied. Missing are pixels with the nodata value, NaN and infinite ones, and those that a
    mask of the file excludes. As 0 is both a usual nodata value and a usual colour, a uint8 pixel
    is missing only where all chosen bands have the nodata value.
    A window that misses more than ``max_nodata`` of any band is drawn again, anywhere, up to
    ``max_draws`` times; the one that misses least is kept, and what it misses takes the mean of the
    band's other pixels in the window.

    Args:
        paths: a file of any format that rasterio opens, a folder (searched at any depth for
            ``.tif``, ``.tiff``, ``.vrt``, ``.img``, ``.jp2``), a glob pattern, or a list of these.
        window: height and width in pixels.
        windows_per_epoch: length of the source; by default as many as cover the scenes' area, at
            least one for each scene.
        bands: which bands to read, by name, or counted from 1 as rasterio does; all by default.
            Names are those of the sensor, or of the files' own descriptions of their bands.
        sensor: what made the scenes: a preset of `cmid.data.sensors`, or a JSON file. It tells the
            order of bands in files that do not describe them, and scale, offset, unit and nodata
            value of files that declare none.
        nodata: overrides the nodata value of the files.
        max_nodata: largest share of missing pixels that a window may have without a new draw.
        max_draws: how often a window is drawn at most.
        apply_scale: False keeps the stored numbers of files that declare scale and offset; then
            these must be the same in all files.

    Raises:
        FileNotFoundError: no raster is there.
        ValueError: a scene cannot be opened, has not the bands, the type, the scale (see
            ``apply_scale``) or the unit of the others, lacks one of ``bands``, or is complex;
            or ``sensor`` is unknown.
        ModuleNotFoundError: rasterio is not installed.
    """

    def __init__(
        self,
        paths: str | os.PathLike[str] | Sequence[str],
        *,
        window: int = 256,
        windows_per_epoch: int | None = None,
        bands: Sequence[int | str] | None = None,
        sensor: str | Sensor | None = None,
        nodata: float | None = None,
        max_nodata: float = 0.5,
        max_draws: int = 10,
        apply_scale: bool = True,
    ) -> None:
        if window < 1 or max_draws < 1 or not 0 <= max_nodata <= 1:
            raise ValueError(
                f"window {window} and max_draws {max_draws} must be at least 1, max_nodata"
                f" {max_nodata} in [0, 1]"
            )
        rasterio_module("reading windows of rasters")
        known = None if sensor is None else find_sensor(sensor)
        scenes = [inspect(path) for path in find_rasters(paths)]
        self.bands, self.band_names = common_bands(scenes, bands, known)
        self.sensor = "" if known is None else known.name
        self.usual = UsualValues.of(known, self.band_names)
        if apply_scale:
            scenes = [scene.completed(self.bands, self.usual) for scene in scenes]
        self.apply_scale = apply_scale
        self.kind = common_kind(scenes, self.bands, apply_scale=apply_scale)
        self.num_bands = len(self.bands)
        self.window = window
        self.nodata = nodata
        self.max_nodata = max_nodata
        self.max_draws = max_draws
        self.paths: NDArray[np.bytes_] = np.array([os.fsencode(scene.path) for scene in scenes])
        self.sizes = np.array([(scene.height, scene.width) for scene in scenes])
        area = self.sizes.prod(axis=1)
        self.cumulative_area = np.cumsum(area) / area.sum()
        self._length = windows_per_epoch or int(np.maximum(area // window**2, 1).sum())
        self._open_scenes: OrderedDict[str, Any] = OrderedDict()
        self._process = os.getpid()

    def __len__(self) -> int:
        return self._length

    def decode(self, index: int, min_size: MinSize, generator: Draws) -> Image:
        """Read a window; ``full_size`` is the window's size, not the scene's.

        ``min_size`` lets a scene with overviews be read at the resolution of one of them.
        """
        if generator is None:
            generator = np.random.default_rng(index)
        place = (index + generator.random()) / self._length
        best: tuple[float, NDArray[Any], NDArray[np.bool_], Window, str] | None = None
        for _ in range(self.max_draws):
            path, window = self._draw(place, generator)
            rows, columns = window.slices
            name = f"{path}[{rows.start}:{rows.stop}, {columns.start}:{columns.stop}]"
            with one_line_errors(name):
                array, missing = self._read(path, window, min_size)
            share = float(missing.mean(axis=(1, 2)).max())
            if best is None or share < best[0]:
                best = share, array, missing, window, name
            if share <= self.max_nodata:
                break
            place = generator.random()
        assert best is not None
        share, array, missing, window, name = best
        if share == 1:
            raise UnreadableImageError(
                f"{name}: no valid pixel in {self.max_draws} draws; check the scene and its nodata"
            )
        pixels = torch.from_numpy(fill_missing(array, missing))
        plain = self.kind.dtype == "float32" and not (self.kind.scaled or self.kind.unit)
        try:
            kind = kind_of(pixels) if plain else self.kind
        except NotFiniteError as error:
            raise UnreadableImageError(f"{name} {error}") from error
        excluded = torch.from_numpy(missing) if share else None
        return Image(pixels, (window.height, window.width), -1, name, kind, excluded)

    def _draw(self, place: float, generator: np.random.Generator) -> tuple[str, Window]:
        """Path and window of the scene at ``place`` of all area, in [0, 1)."""
        number = int(np.searchsorted(self.cumulative_area, place, side="right"))
        number = min(number, len(self.paths) - 1)  # the last sum may round to less than one
        height, width = (int(length) for length in self.sizes[number])
        window = draw_window(height, width, self.window, generator)
        return os.fsdecode(bytes(self.paths[number])), window

    def _read(
        self, path: str, window: Window, min_size: MinSize
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values and which of them are missing, both ``(C, H, W)``."""
        scene = self._open(path)
        nodata = self.nodata
        if nodata is None and self.usual is not None:
            nodata = self.usual.nodata_of(scene, self.bands)
        known = nodata is None or all(scene.nodatavals[band - 1] == nodata for band in self.bands)
        # Overviews were averaged without a nodata value that the file does not know.
        overviews = scene.overviews(self.bands[0]) if known else []
        shape = _decimated(window.height, overviews, min_size)
        rasterio = rasterio_module()
        options: dict[str, Any] = {"window": rasterio.windows.Window.from_slices(*window.slices)}
        if shape != window.height:
            options["resampling"] = rasterio.enums.Resampling.average
        scale = declared_scale(scene, self.bands) if self.kind.scaled else UNSCALED
        if self.kind.scaled and not scale.changes and self.usual is not None:
            scale = self.usual.scale
        size = (shape, shape)
        return read_bands(scene, self.bands, nodata=nodata, shape=size, scale=scale, **options)

    def _open(self, path: str) -> Any:
        """A scene's handle, of this process and not too many at once."""
        if self._process != os.getpid():
            # GDAL handles must not cross a fork.
            self._open_scenes, self._process = OrderedDict(), os.getpid()
        if path not in self._open_scenes:
            self._open_scenes[path] = opened(path)
            if len(self._open_scenes) > _OPEN_SCENES:
                self._open_scenes.popitem(last=False)[1].close()
        self._open_scenes.move_to_end(path)
        return self._open_scenes[path]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open_scenes": OrderedDict()}


def _decimated(side: int, overviews: list[int], min_size: tuple[float, float] | None) -> int:
    """Side of the smallest stored version of a window that is not below ``min_size``."""
    needed = side if min_size is None else max(min_size)
    sides = [math.ceil(side / factor) for factor in overviews]
    return min((smaller for smaller in sides if smaller >= needed), default=side)
