"""Random windows cut straight from georeferenced scenes of any size, band count and type."""

from __future__ import annotations

import os
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cmid.data.source import Image, ImageSource, UnreadableImageError

RASTER_EXTENSIONS = (".tif", ".tiff", ".vrt", ".img", ".jp2")
_OPEN_SCENES = 16
_DRAWS = 10


def _rasterio() -> Any:
    try:
        import rasterio
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "reading GeoTIFFs needs rasterio: pip install 'cmid[geo]'"
        ) from error
    return rasterio


class RasterWindows(ImageSource):
    """Square windows of rasters, read where they lie; whole scenes are never loaded.

    Scenes are drawn in proportion to their area, and the window's place at random from the
    generator. Without a generator, the place is a function of the index alone. Scenes smaller than
    the window give the largest square that fits. A window with too much nodata is drawn again up to
    ten times; the one with the least is kept. What nodata (or NaN) is left takes the mean
    of the window's valid pixels of that band.

    Args:
        paths: a file, a folder (searched at any depth), a glob pattern, or a list of these.
        window: height and width in pixels.
        windows_per_epoch: length of the source; by default as many windows as tile all scenes.
        bands: which bands to read, counted from 1 as rasterio does; all by default.
        nodata: overrides the nodata value of the files.
        max_nodata: largest share of pixels without data that a window may have.

    Raises:
        FileNotFoundError: no raster is there.
        ValueError: scenes with different numbers of bands, or a band that a scene lacks.
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
    ) -> None:
        if window < 1 or not 0 <= max_nodata <= 1:
            raise ValueError(f"window {window} must be positive, max_nodata {max_nodata} in [0, 1]")
        self.paths = _find(paths)
        self.window = window
        self.nodata = nodata
        self.max_nodata = max_nodata
        self._scenes: OrderedDict[str, Any] = OrderedDict()
        self._process = os.getpid()
        self.sizes = np.zeros((len(self.paths), 2), dtype=np.int64)
        counts = []
        for number, path in enumerate(self.paths):
            scene = self._open(path)
            self.sizes[number] = scene.height, scene.width
            counts.append(scene.count)
            if bands is not None and not all(1 <= band <= scene.count for band in bands):
                raise ValueError(
                    f"{path} has bands 1 to {scene.count}, bands {list(bands)} were asked for"
                )
        if bands is None and len(set(counts)) > 1:
            other = next(i for i, count in enumerate(counts) if count != counts[0])
            raise ValueError(
                f"{self.paths[0]} has {counts[0]} bands, {self.paths[other]} has {counts[other]}:"
                " choose common ones with bands"
            )
        self.bands = tuple(bands) if bands is not None else tuple(range(1, counts[0] + 1))
        self.num_bands = len(self.bands)
        area = self.sizes.prod(axis=1)
        self.cumulative = np.cumsum(area) / area.sum()
        tiles = np.ceil(self.sizes / window).prod(axis=1).sum()
        self._length = int(windows_per_epoch or tiles)

    def __len__(self) -> int:
        return self._length

    def read(
        self,
        index: int,
        *,
        min_size: tuple[float, float] | None = None,
        generator: np.random.Generator | None = None,
    ) -> Image:
        """Read a window; ``full_size`` is the window's size, not the scene's."""
        generator = generator or np.random.default_rng((0x7A57E5, index))
        best, best_share, name = None, 2.0, ""
        for _ in range(_DRAWS):
            number = int(np.searchsorted(self.cumulative, generator.random(), side="right"))
            number = min(number, len(self.paths) - 1)
            height, width = (int(side) for side in self.sizes[number])
            side = min(self.window, height, width)
            top = int(generator.integers(height - side + 1))
            left = int(generator.integers(width - side + 1))
            name = f"{self.paths[number]}[{top}:{top + side}, {left}:{left + side}]"
            array, missing = self._read(self.paths[number], left, top, side)
            share = float(missing.mean())
            if share < best_share:
                best, best_share = (array, missing, side, name), share
            if share <= self.max_nodata:
                break
        assert best is not None
        array, missing, side, name = best
        if missing.all(axis=(1, 2)).any():
            raise UnreadableImageError(
                f"{name}: a band has no valid pixel in {_DRAWS} draws; check the scenes' nodata"
            )
        return Image(torch.from_numpy(_filled(array, missing)), (side, side), -1, name)

    def _read(self, path: str, left: int, top: int, side: int) -> tuple[np.ndarray, np.ndarray]:
        rasterio = _rasterio()
        window = rasterio.windows.Window(left, top, side, side)
        try:
            scene = self._open(path)
            array = scene.read(list(self.bands), window=window)
        except rasterio.errors.RasterioError as error:
            raise UnreadableImageError(f"{path}: {str(error).splitlines()[0]}") from error
        values = [self.nodata] * len(self.bands)
        if self.nodata is None:
            values = [scene.nodatavals[band - 1] for band in self.bands]
        missing = np.zeros(array.shape, dtype=bool)
        for band, value in enumerate(values):
            if value is not None and not np.isnan(value):
                missing[band] = array[band] == value
        if array.dtype != np.uint8:
            array = array.astype(np.float32)
            missing |= ~np.isfinite(array)
        return array, missing

    def _open(self, path: str) -> Any:
        """A scene's handle, of this process and not too many at once."""
        rasterio = _rasterio()
        if self._process != os.getpid():
            # GDAL handles must not cross a fork; the parent's are left to the parent.
            self._scenes, self._process = OrderedDict(), os.getpid()
        if path in self._scenes:
            self._scenes.move_to_end(path)
            return self._scenes[path]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
                self._scenes[path] = rasterio.open(path)
        except rasterio.errors.RasterioIOError as error:
            raise UnreadableImageError(f"{path}: {str(error).splitlines()[0]}") from error
        if len(self._scenes) > _OPEN_SCENES:
            self._scenes.popitem(last=False)[1].close()
        return self._scenes[path]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_scenes": OrderedDict()}


def _filled(array: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Missing pixels take the mean of their band's valid ones."""
    for band in np.flatnonzero(missing.any(axis=(1, 2))):
        array[band][missing[band]] = array[band][~missing[band]].mean(dtype=np.float64)
    return array


def _find(paths: str | os.PathLike[str] | Sequence[str]) -> list[str]:
    entries = [os.fspath(paths)] if isinstance(paths, str | os.PathLike) else list(paths)
    found: list[str] = []
    for entry in entries:
        if Path(entry).is_dir():
            inside = [p for p in Path(entry).rglob("*") if p.suffix.lower() in RASTER_EXTENSIONS]
            found += sorted(map(str, inside))
        elif Path(entry).is_file():
            found.append(entry)
        else:
            found += sorted(glob(entry, recursive=True))
    if not found:
        raise FileNotFoundError(
            f"no raster at {', '.join(entries)}: give files, a folder with"
            f" {', '.join(RASTER_EXTENSIONS)}, or a pattern"
        )
    return found
