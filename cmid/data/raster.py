"""Random windows cut straight from georeferenced scenes of any size, band count and type."""

from __future__ import annotations

import math
import os
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cmid.data.folder import find_files
from cmid.data.source import Image, ImageSource, UnreadableImageError

RASTER_EXTENSIONS = (".tif", ".tiff", ".vrt", ".img", ".jp2")
_OPEN_SCENES = 16


@dataclass(frozen=True)
class _Scene:
    """What has to be known of a scene before a window is cut."""

    path: str
    height: int
    width: int
    count: int
    dtype: str


class RasterWindows(ImageSource):
    """Square windows of rasters, read where they lie; whole scenes are never loaded.

    All indices together spread the windows over the scenes in proportion to their area; the place
    within a scene comes from the generator (without one, from the index alone). A scene smaller
    than the window gives the largest square that fits, without padding.

    uint8 is kept, other types become float32. Missing are pixels with the nodata value, NaN and
    infinite ones, and those that a mask of the file excludes. As 0 is both a usual nodata value and
    a usual colour, a uint8 pixel is missing only where all chosen bands have the nodata value.
    A window that misses more than ``max_nodata`` of any band is drawn again, anywhere, up to
    ``max_draws`` times; the one that misses least is kept, and what it misses takes the mean of the
    band's other pixels in the window.

    Args:
        paths: a file of any format that rasterio opens, a folder (searched at any depth for
            ``.tif``, ``.tiff``, ``.vrt``, ``.img``, ``.jp2``), a glob pattern, or a list of these.
        window: height and width in pixels.
        windows_per_epoch: length of the source; by default as many as cover the scenes' area, at
            least one for each scene.
        bands: which bands to read, counted from 1 as rasterio does; all by default.
        nodata: overrides the nodata value of the files.
        max_nodata: largest share of missing pixels that a window may have without a new draw.
        max_draws: how often a window is drawn at most.

    Raises:
        FileNotFoundError: no raster is there.
        ValueError: a scene cannot be opened, has not the bands or the type of the others, or lacks
            one of ``bands``.
        ModuleNotFoundError: rasterio is not installed.
    """

    def __init__(
        self,
        paths: str | os.PathLike[str] | Sequence[str],
        *,
        window: int = 256,
        windows_per_epoch: int | None = None,
        bands: Sequence[int] | None = None,
        nodata: float | None = None,
        max_nodata: float = 0.5,
        max_draws: int = 10,
    ) -> None:
        if window < 1 or max_draws < 1 or not 0 <= max_nodata <= 1:
            raise ValueError(
                f"window {window} and max_draws {max_draws} must be at least 1, max_nodata"
                f" {max_nodata} in [0, 1]"
            )
        _rasterio()
        scenes = [_inspect(path) for path in _find(paths)]
        self.bands = _common_bands(scenes, bands)
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

    def read(
        self,
        index: int,
        *,
        min_size: tuple[float, float] | None = None,
        generator: np.random.Generator | None = None,
    ) -> Image:
        """Read a window; ``full_size`` is the window's size, not the scene's.

        ``min_size`` lets a scene with overviews be read at the resolution of one of them.
        """
        if not 0 <= index < self._length:
            raise IndexError(f"window {index} of {self._length}")
        if generator is None:
            generator = np.random.default_rng(index)
        place = (index + generator.random()) / self._length
        best: tuple[float, NDArray[Any], NDArray[np.bool_], int, str] | None = None
        for _ in range(self.max_draws):
            path, top, left, side = self._draw(place, generator)
            name = f"{path}[{top}:{top + side}, {left}:{left + side}]"
            with _one_line_errors(name):
                array, missing = self._read(path, (top, left, side), min_size)
            share = float(missing.mean(axis=(1, 2)).max())
            if best is None or share < best[0]:
                best = share, array, missing, side, name
            if share <= self.max_nodata:
                break
            place = generator.random()
        assert best is not None
        share, array, missing, side, name = best
        if share == 1:
            raise UnreadableImageError(
                f"{name}: no valid pixel in {self.max_draws} draws; check the scene and its nodata"
            )
        return Image(torch.from_numpy(_filled(array, missing)), (side, side), -1, name)

    def _draw(self, place: float, generator: np.random.Generator) -> tuple[str, int, int, int]:
        """Path, top, left and side of a window in the scene at ``place`` of all area, in [0, 1)."""
        number = int(np.searchsorted(self.cumulative_area, place, side="right"))
        number = min(number, len(self.paths) - 1)  # the last sum may round to less than one
        height, width = (int(length) for length in self.sizes[number])
        side = min(self.window, height, width)
        top, left = (int(generator.integers(length - side + 1)) for length in (height, width))
        return os.fsdecode(bytes(self.paths[number])), top, left, side

    def _read(
        self, path: str, box: tuple[int, int, int], min_size: tuple[float, float] | None
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values and which of them are missing, both ``(C, H, W)``."""
        rasterio = _rasterio()
        top, left, side = box
        scene = self._open(path)
        shape = _decimated(side, scene.overviews(self.bands[0]), min_size)
        options: dict[str, Any] = {"window": rasterio.windows.Window(left, top, side, side)}
        if shape != side:
            options["resampling"] = rasterio.enums.Resampling.average
        size = (shape, shape)
        return _values(scene, self.bands, nodata=self.nodata, shape=size, **options)

    def _open(self, path: str) -> Any:
        """A scene's handle, of this process and not too many at once."""
        if self._process != os.getpid():
            # GDAL handles must not cross a fork.
            self._open_scenes, self._process = OrderedDict(), os.getpid()
        if path not in self._open_scenes:
            self._open_scenes[path] = _opened(path)
            if len(self._open_scenes) > _OPEN_SCENES:
                self._open_scenes.popitem(last=False)[1].close()
        self._open_scenes.move_to_end(path)
        return self._open_scenes[path]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open_scenes": OrderedDict()}


def read_raster(
    path: str | os.PathLike[str],
    *,
    bands: Sequence[int] | None = None,
    nodata: float | None = None,
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Read a whole raster; types, missing pixels and ``bands`` as in `RasterWindows`.

    Returns:
        values ``(C, H, W)``, uint8 or float32, and which of them were missing, bool of the same
        shape. They took the mean of their band's other pixels, 0 in a band without any.

    Raises:
        UnreadableImageError: the file is missing or damaged.
        ValueError: it is no raster, or lacks one of ``bands``.
    """
    name = os.fspath(path)
    if not os.path.isfile(name):
        raise UnreadableImageError(f"{name}: no such file; restore it, or take it out of the list")
    chosen = _common_bands([_inspect(name)], bands)
    with _one_line_errors(name), _opened(name) as scene:
        array, missing = _values(scene, chosen, nodata=nodata, shape=scene.shape)
    return _filled(array, missing), missing


def _values(
    scene: Any,
    bands: Sequence[int],
    *,
    nodata: float | None,
    shape: tuple[int, int],
    **options: Any,
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Values and which of them are missing, both ``(C, H, W)``."""
    rasterio = _rasterio()
    array = scene.read(list(bands), out_shape=(len(bands), *shape), **options)
    missing = np.zeros(array.shape, dtype=bool)
    for number, band in enumerate(bands):
        value = nodata if nodata is not None else scene.nodatavals[band - 1]
        if value is not None:
            missing[number] = array[number] == value
    if array.dtype == np.uint8:
        missing[:] = missing.all(axis=0)
    else:
        array = array.astype(np.float32)
        missing |= ~np.isfinite(array)
    # Only a mask that was stored as such: four bands are often RGB and infrared, with the last
    # one declared transparency by the writer's default.
    if scene.mask_flag_enums[0] == [rasterio.enums.MaskFlags.per_dataset]:
        missing |= scene.read_masks(1, out_shape=shape, **options) == 0
    return array, missing


def _rasterio() -> Any:
    try:
        import rasterio
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "reading windows of rasters needs rasterio: pip install 'cmid[geo]'"
        ) from error
    return rasterio


def _opened(path: str) -> Any:
    rasterio = _rasterio()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        return rasterio.open(path)


@contextmanager
def _one_line_errors(name: str) -> Iterator[None]:
    rasterio = _rasterio()
    try:
        # Inside an Env GDAL's warnings go to logging instead of straight to the terminal.
        with rasterio.Env():
            yield
    except rasterio.errors.RasterioError as error:
        # GDAL tells the reason in the cause; rasterio says "Read failed".
        reason = str(error.__cause__ or error).splitlines()[0]
        raise UnreadableImageError(f"{name}: {reason}; replace the file") from error


def _inspect(path: str) -> _Scene:
    rasterio = _rasterio()
    try:
        with _opened(path) as scene:
            return _Scene(path, scene.height, scene.width, scene.count, scene.dtypes[0])
    except (rasterio.errors.RasterioError, IndexError) as error:
        raise ValueError(f"{path} is not a readable raster ({error}): remove it") from error


def _common_bands(scenes: list[_Scene], bands: Sequence[int] | None) -> tuple[int, ...]:
    """The bands to read, checked against every scene."""
    first = scenes[0]
    for scene in scenes:
        if (scene.dtype == "uint8") != (first.dtype == "uint8"):
            raise ValueError(
                f"{first.path} is {first.dtype}, {scene.path} is {scene.dtype}: use 8-bit scenes"
                " and others in separate runs"
            )
        if bands is None and scene.count != first.count:
            raise ValueError(
                f"{first.path} has {first.count} bands, {scene.path} has {scene.count}: choose"
                " common ones with bands"
            )
        wrong = [band for band in bands or () if not 1 <= band <= scene.count]
        if wrong:
            raise ValueError(
                f"{scene.path} has {scene.count} bands, counted from 1; bands asks for {wrong[0]}"
            )
    if bands is not None and not bands:
        raise ValueError("bands is empty: name at least one, or leave it out")
    return tuple(range(1, first.count + 1)) if bands is None else tuple(bands)


def _decimated(side: int, overviews: list[int], min_size: tuple[float, float] | None) -> int:
    """Side of the smallest stored version of a window that is not below ``min_size``."""
    needed = side if min_size is None else max(min_size)
    sides = [math.ceil(side / factor) for factor in overviews]
    return min((smaller for smaller in sides if smaller >= needed), default=side)


def _filled(array: NDArray[Any], missing: NDArray[np.bool_]) -> NDArray[Any]:
    """Missing pixels take the mean of their band's others."""
    for band in np.flatnonzero(missing.any(axis=(1, 2))):
        found = array[band][~missing[band]]
        mean = found.mean(dtype=np.float64) if found.size else 0
        array[band][missing[band]] = np.rint(mean) if array.dtype == np.uint8 else mean
    return array


def _find(paths: str | os.PathLike[str] | Sequence[str]) -> list[str]:
    entries = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    found: list[str] = []
    for entry in (os.fspath(path) for path in entries):
        if Path(entry).is_dir():
            found += [os.path.join(entry, p) for p in find_files(Path(entry), RASTER_EXTENSIONS)]
        else:
            found += [entry] if Path(entry).is_file() else sorted(glob(entry, recursive=True))
    if not found:
        raise FileNotFoundError(
            f"no raster at {', '.join(map(str, entries))}: give files, a folder with"
            f" {', '.join(RASTER_EXTENSIONS)}, or a pattern"
        )
    return found
