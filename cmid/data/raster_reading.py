"""Values of rasters and of parts of them, and which are missing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cmid.data.raster_files import UsualValues, check_nodata, common_bands, common_kind, inspect
from cmid.data.raster_paths import on_disk
from cmid.data.rasters import geo_module, is_transparency, one_line_errors, opened, rasterio_module
from cmid.data.sensors import Sensor, find_sensor
from cmid.data.source import Image, UnreadableImageError
from cmid.data.values import (
    UNSCALED,
    BandScale,
    NotFiniteError,
    ValueKind,
    fill_missing,
    kind_of,
    missing_pixels,
)

# Numbers ``(C, H, W)``, and which of them are missing; None where none are.
Pixels = tuple[NDArray[Any], NDArray[np.bool_] | None]


def read_stored(
    scene: Any,
    bands: Sequence[int],
    *,
    nodata: float | None,
    shape: tuple[int, int],
    **options: Any,
) -> Pixels:
    """Numbers of an open scene as they are stored, and which of them are missing.

    Args:
        scene: opened by rasterio.
        bands: counted from 1.
        nodata: overrides the scene's own.
        shape: height and width of the result.
        **options: of rasterio's ``read`` and ``read_masks``: window, resampling.

    Returns:
        ``(C, H, W)`` in the scene's type; bool of the same shape, None where none are missing.
    """
    rasterio = rasterio_module()
    array = scene.read(list(bands), out_shape=(len(bands), *shape), **options)
    own = [scene.nodatavals[band - 1] for band in bands]
    missing = None
    if nodata is not None or any(value is not None for value in own):
        missing = missing_pixels(array, own if nodata is None else [nodata] * len(bands))
    hidden = None
    if scene.mask_flag_enums[0] == [rasterio.enums.MaskFlags.per_dataset]:
        hidden = scene.read_masks(1, out_shape=shape, **options) == 0
    elif rasterio.enums.ColorInterp.alpha in scene.colorinterp:
        hidden = _transparent(scene, bands, shape, options)
    if hidden is not None:
        missing = np.broadcast_to(hidden, array.shape) if missing is None else missing | hidden
    return array, missing if missing is not None and missing.any() else None


def _transparent(
    scene: Any, bands: Sequence[int], shape: tuple[int, int], options: Mapping[str, Any]
) -> NDArray[np.bool_] | None:
    """Where a band that is declared alpha hides the others, ``(H, W)``; None where it does not.

    Four bands are often red, green, blue and infrared, with the last one declared alpha by the
    writer's default: one that is asked for, or has other values than two, is no transparency.
    What is resampled has no such band.
    """
    band = 1 + scene.colorinterp.index(rasterio_module().enums.ColorInterp.alpha)
    if band in bands:
        return None
    found = scene.read(band, out_shape=shape, window=options.get("window"))
    sure = isinstance(scene, geo_module("rasterio.vrt").WarpedVRT) or is_transparency(found)
    return found == 0 if sure else None


def as_values(pixels: Pixels, scale: BandScale = UNSCALED) -> Pixels:
    """What stored numbers mean, in arrays of its own.

    Args:
        pixels: of `read_stored`, or a part of it.
        scale: scale and offset to apply.

    Returns:
        ``(C, H, W)`` uint8, or float32 for wider and for scaled values; bool of the same shape,
        None where none are missing: here values that are not finite are.
    """
    stored, missing = pixels
    array = scale.apply(stored)
    array = array.copy() if array is stored else array
    whole = stored.dtype.kind != "f" and not scale.changes
    if not whole and not (finite := np.isfinite(array)).all():
        missing = ~finite if missing is None else missing | ~finite
    return array, None if missing is None else missing.copy()


def as_image(pixels: Pixels, *, kind: ValueKind, full_size: tuple[int, int], name: str) -> Image:
    """An image of values, without a label; what is missing takes the mean of its band's others.

    Args:
        pixels: of `as_values`.
        kind: what the values mean; of plain numbers of unknown range they tell it themselves.
        full_size, name: see `Image`.

    Raises:
        UnreadableImageError: values that are neither finite nor missing.
    """
    array, missing = pixels
    excluded = None if missing is None or not missing.any() else torch.from_numpy(missing)
    values = torch.from_numpy(array if missing is None else fill_missing(array, missing))
    try:
        if kind.dtype == "float32" and not (kind.scaled or kind.unit):
            kind = kind_of(values)
    except NotFiniteError as error:
        raise UnreadableImageError(f"{name} {error}") from error
    return Image(values, full_size, -1, name, kind, excluded)


def read_raster(
    path: str | os.PathLike[str],
    *,
    bands: Sequence[int | str] | None = None,
    nodata: float | None = None,
    sensor: str | Sensor | None = None,
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Read a whole raster; types, missing pixels, ``bands`` and ``sensor`` as in
    `RasterWindows`.

    Returns:
        values ``(C, H, W)``, uint8 or float32, and which of them were missing, bool of the same
        shape. They took the mean of their band's other pixels, 0 in a band without any.

    Raises:
        UnreadableImageError: the file is missing or damaged.
        ValueError: it is no raster, lacks one of ``bands``, or cannot hold ``nodata``.
    """
    name = os.fspath(path)
    if not on_disk(name).exists():
        raise UnreadableImageError(f"{name}: no such file; restore it, or take it out of the list")
    known = None if sensor is None else find_sensor(sensor)
    scene_file = inspect(name)
    chosen, names = common_bands([scene_file], bands, known)
    usual = UsualValues.of(known, names)
    scene_file = scene_file.completed(chosen, usual)
    common_kind([scene_file], chosen)  # refuses bands of several types
    check_nodata([scene_file], chosen, nodata)
    with one_line_errors(name), opened(name) as scene:
        if nodata is None and usual is not None:
            nodata = usual.nodata_of(scene, chosen)
        stored = read_stored(scene, chosen, nodata=nodata, shape=scene.shape)
    array, missing = as_values(stored, scene_file.scale_of(chosen))
    missing = np.zeros(array.shape, dtype=bool) if missing is None else missing
    return fill_missing(array, missing), missing
