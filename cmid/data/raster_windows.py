"""Random windows cut straight from georeferenced scenes of any size, band count and type."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmid.data.process_cache import ProcessCache
from cmid.data.raster_files import (
    UsualValues,
    check_nodata,
    common_bands,
    common_kind,
    declared_scale,
    inspect,
)
from cmid.data.raster_grids import opened_at
from cmid.data.raster_paths import find_rasters
from cmid.data.raster_reading import Pixels, as_image, as_values, read_stored
from cmid.data.rasters import one_line_errors, rasterio_module, warn_of_transparency
from cmid.data.sensors import Sensor, find_sensor
from cmid.data.source import Draws, Image, ImageSource, MinSize, UnreadableImageError
from cmid.data.values import UNSCALED
from cmid.data.windows import Window, draw_window

_OPEN_SCENES = 16
# Of a neighbourhood at least, so that most of what is decoded for its windows is used.
_NEIGHBOURHOOD = 512
_HELD_BYTES = 256 * 2**20


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
        windows_per_read: 1 decodes every window by itself. More, such as 16, cuts as many from one
            neighbourhood (starts within 512 pixels either way, whole blocks of the file), which is
            decoded once: several times as fast from compressed files. Every place stays equally
            likely, and training mixes the windows of 16 neighbourhoods; but those of a step are
            neighbours more often, and their order depends on ``num_workers``. Up to 256 MB a
            process are held.
        bands: which bands to read, by name, or counted from 1 as rasterio does; all by default.
            Names are those of the sensor, or of the files' own descriptions of their bands.
        sensor: what made the scenes: a preset of `cmid.data.sensors`, or a JSON file. It tells the
            order of bands in files that do not describe them, and scale, offset, unit and nodata
            value of files that declare none.
        nodata: overrides the nodata value of the files.
        max_nodata: largest share of missing pixels that a window may have without a new draw.
        max_draws: how often a window is drawn at most.
        resolution: side of the pixels in units of each scene's reference system (metres, or
            degrees): scenes of another one are resampled while they are read.
        physical: False keeps the stored numbers of files that declare scale and offset; then
            these must be the same in all files.

    Raises:
        FileNotFoundError: no raster is there.
        ValueError: a scene cannot be opened, has not the bands, the type, the scale (see
            ``physical``) or the unit of the others, lacks one of ``bands``, or is complex;
            ``sensor`` is unknown; or no scene can hold ``nodata``.
        ModuleNotFoundError: rasterio is not installed.
    """

    def __init__(
        self,
        paths: str | os.PathLike[str] | Sequence[str],
        *,
        window: int = 256,
        windows_per_epoch: int | None = None,
        windows_per_read: int = 1,
        bands: Sequence[int | str] | None = None,
        sensor: str | Sensor | None = None,
        nodata: float | None = None,
        max_nodata: float = 0.5,
        max_draws: int = 10,
        resolution: float | None = None,
        physical: bool = True,
    ) -> None:
        if min(window, max_draws, windows_per_read) < 1 or not 0 <= max_nodata <= 1:
            raise ValueError(
                f"window {window}, max_draws {max_draws} and windows_per_read {windows_per_read}"
                f" must be at least 1, max_nodata {max_nodata} in [0, 1]"
            )
        if windows_per_epoch is not None and windows_per_epoch < 1:
            raise ValueError(f"windows_per_epoch {windows_per_epoch} must be at least 1")
        rasterio_module("reading windows of rasters")
        known = None if sensor is None else find_sensor(sensor)
        scenes = [inspect(path, resolution) for path in find_rasters(paths)]
        self.bands, self.band_names = common_bands(scenes, bands, known)
        warn_of_transparency(scenes[0].path, bands)
        self.sensor = "" if known is None else known.name
        self.usual = UsualValues.of(known, self.band_names)
        if physical:
            scenes = [scene.completed(self.bands, self.usual) for scene in scenes]
        self.physical = physical
        self.kind = common_kind(scenes, self.bands, physical=physical)
        check_nodata(scenes, self.bands, nodata)
        self.num_bands = len(self.bands)
        self.window = window
        self.resolution = resolution
        self.nodata = nodata
        self.max_nodata = max_nodata
        self.max_draws = max_draws
        self.paths: NDArray[np.bytes_] = np.array([os.fsencode(scene.path) for scene in scenes])
        self.sizes = np.array([(scene.height, scene.width) for scene in scenes])
        area = self.sizes.prod(axis=1)
        self.cumulative_area = np.cumsum(area) / area.sum()
        length = windows_per_epoch or int(np.maximum(area // window**2, 1).sum())
        self.reads_together = windows_per_read
        self._length = -(-length // windows_per_read) * windows_per_read
        self._blocks = np.array([scene.block for scene in scenes])
        self._shared: Draws = None
        self._scenes: ProcessCache[Any] = ProcessCache(_OPEN_SCENES, drop=_close)
        self._held: ProcessCache[Pixels] = ProcessCache(_HELD_BYTES, weight=_bytes)

    def __len__(self) -> int:
        return self._length

    def for_run(self, generator: np.random.Generator) -> RasterWindows:
        source = copy.copy(self)
        source._shared = generator
        return source

    def decode(self, index: int, min_size: MinSize, generator: Draws) -> Image:
        """Read a window; ``full_size`` is the window's size, not the scene's.

        ``min_size`` lets a scene with overviews be read at the resolution of one of them.
        """
        if generator is None:
            generator = np.random.default_rng(index)
        # What tells the neighbourhood is the same for all windows of a run.
        where, run, runs = generator, index, self._length
        if self.reads_together > 1:
            run, runs = index // self.reads_together, runs // self.reads_together
            where = self._shared or np.random.default_rng(run)
        place = (run + where.random()) / runs
        best: tuple[float, Pixels, Window, str] | None = None
        for _ in range(self.max_draws):
            number, window, around = self._draw(place, where, generator)
            path = os.fsdecode(bytes(self.paths[number]))
            rows, columns = window.slices
            name = f"{path}[{rows.start}:{rows.stop}, {columns.start}:{columns.stop}]"
            with one_line_errors(name):
                pixels = self._read(path, window, around, min_size)
            share = 0.0 if pixels[1] is None else float(pixels[1].mean(axis=(1, 2)).max())
            if best is None or share < best[0]:
                best = share, pixels, window, name
            if share <= self.max_nodata:
                break
            place = where.random()
        assert best is not None
        share, pixels, window, name = best
        if share == 1:
            raise UnreadableImageError(
                f"{name}: no valid pixel in {self.max_draws} draws; check the scene and its nodata"
            )
        size = window.height, window.width
        return as_image(pixels, kind=self.kind, full_size=size, name=name)

    def _draw(
        self, place: float, where: np.random.Generator, generator: np.random.Generator
    ) -> tuple[int, Window, Window]:
        """Number of the scene at ``place`` of all area, in [0, 1); window; what is decoded for it.

        The neighbourhood is that of a place drawn by ``where``: one that holds more starts of
        windows is drawn more often, so every start is equally likely.
        """
        number = int(np.searchsorted(self.cumulative_area, place, side="right"))
        number = min(number, len(self.paths) - 1)  # the last sum may round to less than one
        height, width = (int(length) for length in self.sizes[number])
        window = draw_window(height, width, self.window, where)
        if self.reads_together == 1:
            return number, window, window
        sides = []
        for first, side, length, block in zip(
            window[:2], window[2:], (height, width), self._blocks[number].tolist(), strict=True
        ):
            whole = block if block <= 2 * _NEIGHBOURHOOD else 1  # strips are as wide as the scene
            step = -(-_NEIGHBOURHOOD // whole) * whole
            first -= first % step
            sides.append((first, min(step - 1 + side, length - first)))
        (top, rows), (left, columns) = sides
        inner = draw_window(rows, columns, self.window, generator)
        window = inner._replace(top=top + inner.top, left=left + inner.left)
        return number, window, Window(top, left, rows, columns)

    def _read(self, path: str, window: Window, around: Window, min_size: MinSize) -> Pixels:
        """Values of a window, and which of them are missing; copies of what is held."""
        scene = self._scenes.get(path, lambda: self._opened(path))
        nodata = self.nodata
        if nodata is None and self.usual is not None:
            nodata = self.usual.nodata_of(scene, self.bands)
        known = nodata is None or all(scene.nodatavals[band - 1] == nodata for band in self.bands)
        # Overviews were averaged without a nodata value that the file does not know.
        overviews = scene.overviews(self.bands[0]) if known else []
        shape = _decimated(window.height, overviews, min_size)
        stored: Pixels
        if shape == window.height and around != window:
            array, missing = self._held.get(
                (path, around), lambda: self._stored(scene, around, nodata)
            )
            top, left = window.top - around.top, window.left - around.left
            part = slice(None), *Window(top, left, window.height, window.width).slices
            stored = (
                array[part],
                None if missing is None or not missing[part].any() else missing[part],
            )
        else:
            stored = self._stored(scene, window, nodata, shape)
        scale = declared_scale(scene, self.bands) if self.kind.scaled else UNSCALED
        if self.kind.scaled and not scale.changes and self.usual is not None:
            scale = self.usual.scale
        return as_values(stored, scale)

    def _opened(self, path: str) -> Any:
        usual = None if self.usual is None else self.usual.nodata
        return opened_at(path, self.resolution, nodata=self.nodata, usual=usual)

    def _stored(
        self, scene: Any, window: Window, nodata: float | None, shape: int | None = None
    ) -> Pixels:
        """A part of an open scene, at another resolution where ``shape`` is its side then."""
        rasterio = rasterio_module()
        options: dict[str, Any] = {"window": rasterio.windows.Window.from_slices(*window.slices)}
        size = (window.height, window.width) if shape is None else (shape, shape)
        if size != (window.height, window.width):
            options["resampling"] = rasterio.enums.Resampling.average
        return read_stored(scene, self.bands, nodata=nodata, shape=size, **options)


def _close(scene: Any) -> None:
    scene.close()


def _bytes(pixels: Pixels) -> int:
    return sum(array.nbytes for array in pixels if array is not None)


def _decimated(side: int, overviews: list[int], min_size: tuple[float, float] | None) -> int:
    """Side of the smallest stored version of a window that is not below ``min_size``."""
    needed = side if min_size is None else max(min_size)
    sides = [math.ceil(side / factor) for factor in overviews]
    return min((smaller for smaller in sides if smaller >= needed), default=side)
