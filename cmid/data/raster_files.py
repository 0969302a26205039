"""Raster files: which there are, what their bands hold, and the values of a part of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmid.data.listing import find_files
from cmid.data.rasters import RASTER_EXTENSIONS, one_line_errors, opened, rasterio_module
from cmid.data.sensors import Sensor, band_numbers, find_sensor
from cmid.data.source import UnreadableImageError
from cmid.data.values import (
    UNSCALED,
    BandScale,
    ValueKind,
    fill_missing,
    missing_pixels,
    name_of_type,
)

# Numbers ``(C, H, W)``, and which of them are missing; None where none are.
Pixels = tuple[NDArray[Any], NDArray[np.bool_] | None]


def declared_scale(scene: Any, bands: Sequence[int]) -> BandScale:
    """Scale and offset that an open scene declares for its bands, counted from 1."""
    return BandScale(
        tuple(float(scene.scales[band - 1]) for band in bands),
        tuple(float(scene.offsets[band - 1]) for band in bands),
    )


@dataclass(frozen=True)
class UsualValues:
    """How files of a sensor store the chosen bands, where they do not say it themselves.

    Attributes:
        scale: scale of each band.
        units: physical unit of each band.
        nodata: value of missing pixels, None without one.
    """

    scale: BandScale
    units: tuple[str, ...]
    nodata: float | None

    @classmethod
    def of(cls, sensor: Sensor | None, names: Sequence[str]) -> UsualValues | None:
        """Those of the bands of a sensor; None where either is not known."""
        if sensor is None or not names:
            return None
        bands = [sensor.band(name) for name in names]
        scale = BandScale(tuple(b.scale for b in bands), tuple(b.offset for b in bands))
        units = tuple(band.unit for band in bands)
        return cls(scale, units, sensor.nodata)

    def nodata_of(self, scene: Any, bands: Sequence[int]) -> float | None:
        """The usual nodata value, where an open scene has none of its own."""
        own = [scene.nodatavals[band - 1] for band in bands]
        return self.nodata if all(value is None for value in own) else None


@dataclass(frozen=True)
class SceneFile:
    """What has to be known of a scene before a window is cut; tuples have one entry a band, but
    for ``block``: height and width of the parts that the file is compressed in."""

    path: str
    height: int
    width: int
    dtypes: tuple[str, ...]
    scale: BandScale
    units: tuple[str, ...]
    descriptions: tuple[str, ...] = ()
    block: tuple[int, int] = (1, 1)

    @property
    def count(self) -> int:
        return len(self.dtypes)

    def scale_of(self, bands: Sequence[int]) -> BandScale:
        """Scale and offset of the chosen bands."""
        scales, offsets = self.scale.scales, self.scale.offsets
        return BandScale(
            tuple(scales[band - 1] for band in bands), tuple(offsets[band - 1] for band in bands)
        )

    def completed(self, bands: Sequence[int], usual: UsualValues | None) -> SceneFile:
        """With a sensor's usual scale and units for the chosen bands, where the file has none."""
        mine = self.scale_of(bands)
        whole = not any(self.dtypes[band - 1].startswith("float") for band in bands)
        if usual is None or not usual.scale.changes or mine.changes or not whole:
            return self
        scales, offsets, units = [*self.scale.scales], [*self.scale.offsets], [*self.units]
        for number, band in enumerate(bands):
            scales[band - 1] = usual.scale.scales[number]
            offsets[band - 1] = usual.scale.offsets[number]
            units[band - 1] = units[band - 1] or usual.units[number]
        return replace(self, scale=BandScale((*scales,), (*offsets,)), units=(*units,))

    def kind(self, bands: Sequence[int], *, scaled: bool = True) -> ValueKind:
        """What the chosen bands hold.

        Args:
            scaled: scale and offset are applied where there are any.

        Raises:
            ValueError: bands of different types, or complex ones.
        """
        types = dict.fromkeys(self.dtypes[band - 1] for band in bands)
        if len(types) > 1:
            raise ValueError(
                f"{self.path} has bands of {' and '.join(types)}: choose bands of one type"
            )
        try:
            dtype = name_of_type(next(iter(types)))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self.path}: {error}") from error
        scale, units = self.scale_of(bands), {self.units[band - 1] for band in bands}
        unit = units.pop() if len(units) == 1 else ""
        return ValueKind(dtype, scaled and scale.changes, unit)


def inspect(path: str) -> SceneFile:
    """Open a scene for its description; raises ValueError where that fails."""
    rasterio = rasterio_module()
    try:
        with opened(path) as scene:
            return SceneFile(
                path,
                scene.height,
                scene.width,
                tuple(scene.dtypes),
                declared_scale(scene, range(1, scene.count + 1)),
                tuple((unit or "").strip() for unit in scene.units),
                tuple((text or "").strip() for text in scene.descriptions),
                scene.block_shapes[0] if scene.count else (1, 1),
            )
    except (rasterio.errors.RasterioError, IndexError) as error:
        raise ValueError(f"{path} is not a readable raster ({error}): remove it") from error


def common_bands(
    scenes: Sequence[SceneFile],
    bands: Sequence[int | str] | None,
    sensor: Sensor | None = None,
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Numbers and names of the bands to read, checked against every scene; see `band_numbers`."""
    first = scenes[0]
    if first.count == 0:
        raise ValueError(f"{first.path} has no band: name its sub-datasets, or remove it")
    if bands is not None and not bands:
        raise ValueError("bands is empty: name at least one, or leave it out")
    chosen: tuple[tuple[int, ...], tuple[str, ...]] = ((), ())
    for scene in scenes:
        if bands is None and scene.count != first.count:
            raise ValueError(
                f"{first.path} has {first.count} bands, {scene.path} has {scene.count}: choose"
                " common ones with bands"
            )
        found = band_numbers(bands, path=scene.path, descriptions=scene.descriptions, sensor=sensor)
        wrong = [band for band in found[0] if not 1 <= band <= scene.count]
        if wrong:
            raise ValueError(
                f"{scene.path} has {scene.count} bands, counted from 1; bands asks for {wrong[0]}"
            )
        if scene is not first and found != chosen:
            raise ValueError(
                f"{first.path} and {scene.path} hold their bands in different orders"
                f" ({', '.join(chosen[1])} as {chosen[0]}, {', '.join(found[1])} as {found[0]}):"
                " read them as separate sources"
            )
        chosen = found
    return chosen


def common_kind(
    scenes: Sequence[SceneFile], bands: Sequence[int], *, apply_scale: bool = True
) -> ValueKind:
    """What the bands of all scenes hold; raises ValueError that names two that differ."""
    first = scenes[0]
    kind = first.kind(bands, scaled=apply_scale)
    for scene in scenes[1:]:
        other = scene.kind(bands, scaled=apply_scale)
        if kind.differs(other):
            raise ValueError(
                f"{first.path} is {kind}, {scene.path} is {other}: use 8-bit scenes, other types,"
                " scales and units in separate runs, or convert them to one"
            )
        for band in bands:
            units = first.units[band - 1], scene.units[band - 1]
            if all(units) and units[0] != units[1]:
                raise ValueError(
                    f"{first.path} gives band {band} in {units[0]}, {scene.path} in {units[1]}:"
                    " convert them to one unit"
                )
        mine, its = first.scale_of(bands), scene.scale_of(bands)
        if not apply_scale and mine != its:
            raise ValueError(
                f"{first.path} has {mine}, {scene.path} has {its}: apply_scale=true makes their"
                " values comparable"
            )
        kind = other if other.scaled and not kind.scaled else kind
    return kind


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
    # Only a mask that was stored as such: four bands are often RGB and infrared, with the last
    # one declared transparency by the writer's default.
    if scene.mask_flag_enums[0] == [rasterio.enums.MaskFlags.per_dataset]:
        masked = scene.read_masks(1, out_shape=shape, **options) == 0
        missing = np.broadcast_to(masked, array.shape) if missing is None else missing | masked
    return array, missing if missing is not None and missing.any() else None


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
        ValueError: it is no raster, or lacks one of ``bands``.
    """
    name = os.fspath(path)
    if not os.path.isfile(name):
        raise UnreadableImageError(f"{name}: no such file; restore it, or take it out of the list")
    known = None if sensor is None else find_sensor(sensor)
    scene_file = inspect(name)
    chosen, names = common_bands([scene_file], bands, known)
    usual = UsualValues.of(known, names)
    scene_file = scene_file.completed(chosen, usual)
    common_kind([scene_file], chosen)  # refuses bands of several types
    with one_line_errors(name), opened(name) as scene:
        if nodata is None and usual is not None:
            nodata = usual.nodata_of(scene, chosen)
        stored = read_stored(scene, chosen, nodata=nodata, shape=scene.shape)
    array, missing = as_values(stored, scene_file.scale_of(chosen))
    missing = np.zeros(array.shape, dtype=bool) if missing is None else missing
    return fill_missing(array, missing), missing


def find_rasters(paths: str | os.PathLike[str] | Sequence[str]) -> list[str]:
    """Files of a path, a folder, a pattern or a list of these; raises FileNotFoundError."""
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
