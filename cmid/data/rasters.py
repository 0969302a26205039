"""Rasters by rasterio: the one place that imports it (extra ``geo``) and opens files with it."""

from __future__ import annotations

import importlib
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmid.data.raster_paths import is_safe
from cmid.data.source import UnreadableImageError

logger = logging.getLogger(__name__)

_MIDDLE = 512  # side of what is looked at of a band that may be transparency


def rasterio_module(job: str = "reading rasters") -> Any:
    """The library.

    Args:
        job: what needs it, for the message.

    Raises:
        ModuleNotFoundError: it is not installed; names the extra.
    """
    try:
        import rasterio
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{job} needs rasterio: pip install 'cmid[geo]'") from error
    return rasterio


def bound_block_cache(megabytes: int = 128) -> None:
    """Bound what GDAL keeps of decoded blocks, which is a twentieth of the machine's memory else.

    For commands that read everything about once; GDAL_CACHEMAX of the environment wins. It has no
    effect after the first raster was read.
    """
    os.environ.setdefault("GDAL_CACHEMAX", str(megabytes))


def geo_module(name: str, job: str = "reading rasters") -> Any:
    """A module of the extra ``geo``, such as ``rasterio.warp``; see `rasterio_module`."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        library = name.partition(".")[0]
        raise ModuleNotFoundError(f"{job} needs {library}: pip install 'cmid[geo]'") from error


def opened(path: str | os.PathLike[str], mode: str = "r", **profile: Any) -> Any:
    """An open raster; one without georeferences is as good.

    Args:
        path: a file, a sub-dataset (``NETCDF:FILE:NAME``), or a product of Sentinel-2 (``.SAFE``).
        profile: rasterio's profile for writing: driver, count, height, width, dtype ...
    """
    rasterio = rasterio_module(f"{'reading' if mode == 'r' else 'writing'} {os.fspath(path)}")
    if mode == "r" and is_safe(os.fspath(path)):
        from cmid.data.sentinel_safe import safe_raster

        path = safe_raster(os.fspath(path))
    with _without_warnings(rasterio):
        return rasterio.open(path, mode, **profile)


def is_transparency(band: NDArray[Any]) -> bool:
    """Whether a band that is declared alpha is one: all or nothing is let through.

    Writers declare the fourth of red, green, blue and infrared so by default.
    """
    return bool(np.isin(band, (0, band.max())).all())


def warn_of_transparency(path: str, bands: Sequence[int | str] | None) -> None:
    """Log a warning where all bands are asked for, and one of them tells what is transparent.

    Looks at the middle of the raster only.

    Args:
        path: the raster. bands: those that were asked for, None for all.
    """
    rasterio = rasterio_module()
    alpha = rasterio.enums.ColorInterp.alpha
    if bands is not None:
        return
    with one_line_errors(path), opened(path) as raster:
        if alpha not in raster.colorinterp or raster.count == 1:
            return
        band = 1 + raster.colorinterp.index(alpha)
        height, width = (min(side, _MIDDLE) for side in raster.shape)
        top, left = (raster.height - height) // 2, (raster.width - width) // 2
        middle = raster.read(band, window=rasterio.windows.Window(left, top, width, height))
    if is_transparency(middle):
        logger.warning(
            "%s: band %d is transparency, and is read like any other: name the other bands with"
            " bands, so that what it hides is missing",
            path,
            band,
        )


@contextmanager
def opened_bytes(data: bytes) -> Iterator[Any]:
    """An open raster of an encoded file."""
    rasterio = rasterio_module("this TIFF")
    with _without_warnings(rasterio), rasterio.MemoryFile(data) as memory, memory.open() as raster:
        yield raster


@contextmanager
def one_line_errors(name: str) -> Iterator[None]:
    """Turn errors of GDAL into an UnreadableImageError that begins with ``name``."""
    rasterio = rasterio_module()
    try:
        # Inside an Env GDAL's warnings go to logging instead of straight to the terminal.
        with rasterio.Env():
            yield
    except rasterio.errors.RasterioError as error:
        # GDAL tells the reason in the cause; rasterio says "Read failed".
        reason = str(error.__cause__ or error).splitlines()[0]
        raise UnreadableImageError(f"{name}: {reason}; replace the file, or take it out") from error


def stored_values(path: str | os.PathLike[str]) -> NDArray[Any] | None:
    """All numbers of a raster as stored, ``(C, H, W)``; None where there is no way to read it."""
    try:
        with one_line_errors(os.fspath(path)), opened(path) as raster:
            return raster.read()
    except (ModuleNotFoundError, UnreadableImageError):
        return None


def raster_size(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """Height and width of a raster; None where there is no way to read it."""
    try:
        with one_line_errors(os.fspath(path)), opened(path) as raster:
            return raster.height, raster.width
    except (ModuleNotFoundError, UnreadableImageError):
        return None


def write_raster(path: Path, pixels: NDArray[Any], **profile: Any) -> None:
    """Write ``(H, W, C)`` pixels as they are, as GeoTIFF unless ``driver`` says otherwise."""
    height, width, count = pixels.shape
    shape = {"count": count, "height": height, "width": width, "dtype": pixels.dtype}
    with opened(path, "w", **{"driver": "GTiff", **profile}, **shape) as raster:
        raster.write(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def copy_raster(
    path: str | os.PathLike[str],
    target: Path,
    *,
    tags: Mapping[str, str] | None = None,
    **options: Any,
) -> None:
    """Write a raster anew as GeoTIFF, with all that it says of itself.

    Args:
        tags: more to say.
        options: creation options of GDAL; another ``driver`` than GTiff.

    Raises:
        UnreadableImageError: it cannot be read.
        OSError: it cannot be written.
    """
    rasterio = rasterio_module("packing rasters")
    copy = geo_module("rasterio.shutil").copy
    with opened(path) as raster:  # what cannot be opened has a plainer error
        last = rasterio.windows.Window(raster.width - 1, raster.height - 1, 1, 1)
        with one_line_errors(os.fspath(path)):
            wanted = raster.read(window=last)
        try:
            copy(raster, target, **{"driver": "GTiff", **options})
            if tags:
                with opened(target, "r+") as written:
                    written.update_tags(**tags)
            with opened(target) as written:
                if not np.array_equal(written.read(window=last), wanted, equal_nan=True):
                    raise OSError("its last pixel differs")
        except (rasterio.errors.RasterioError, rasterio._err.CPLE_BaseError, OSError) as error:
            reason = str(error.__cause__ or error).splitlines()[0]
            raise OSError(f"{os.fspath(path)} could not be rewritten: {reason}") from error


def transformed(
    x: Sequence[float], y: Sequence[float], source: Any, target: Any
) -> tuple[Sequence[float], Sequence[float]]:
    """Coordinates of one reference system in another; both as rasterio has them."""
    warp = geo_module("rasterio.warp", "another reference system")
    return warp.transform(source, target, x, y)[:2]


@contextmanager
def _without_warnings(rasterio: Any) -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        yield
