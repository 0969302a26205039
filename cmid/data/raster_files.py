"""Raster files: which there are, what their bands hold, and the values of a part of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cmid.data.raster_grids import opened_at
from cmid.data.rasters import opened, rasterio_module
from cmid.data.sensors import Sensor, band_numbers
from cmid.data.values import (
    BandScale,
    ValueKind,
    name_of_type,
)
from cmid.data.virtual_rasters import missing_source


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


def inspect(path: str, resolution: float | None = None, *, crs: Any = None) -> SceneFile:
    """Open a scene for its description.

    Raises ValueError where that fails, or where a file that a virtual raster is made of is gone.

    Args:
        resolution, crs: as `opened_at`.
    """
    rasterio = rasterio_module()
    try:
        with opened(path) as scene, opened_at(path, resolution, crs=crs) as grid:
            if not scene.count and scene.subdatasets:
                raise ValueError(
                    f"{path} has no band of its own: name one of its sub-datasets, such as"
                    f" {' or '.join(scene.subdatasets[:3])}"
                )
            if (gone := missing_source(path)) is not None:
                raise ValueError(
                    f"{path} needs {gone}, which is not there: restore it, or make"
                    " the virtual raster anew"
                )
            return SceneFile(
                path,
                grid.height,
                grid.width,
                tuple(scene.dtypes),
                declared_scale(scene, range(1, scene.count + 1)),
                tuple((unit or "").strip() for unit in scene.units),
                tuple((text or "").strip() for text in scene.descriptions),
                grid.block_shapes[0] if scene.count else (1, 1),
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
    scenes: Sequence[SceneFile], bands: Sequence[int], *, physical: bool = True
) -> ValueKind:
    """What the bands of all scenes hold; raises ValueError that names two that differ."""
    first = scenes[0]
    kind = first.kind(bands, scaled=physical)
    for scene in scenes[1:]:
        other = scene.kind(bands, scaled=physical)
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
        if not physical and mine != its:
            raise ValueError(
                f"{first.path} has {mine}, {scene.path} has {its}: physical=true makes their"
                " values comparable"
            )
        kind = other if other.scaled and not kind.scaled else kind
    return kind


def check_nodata(scenes: Sequence[SceneFile], bands: Sequence[int], nodata: float | None) -> None:
    """Raise ValueError where ``nodata`` is given, and no band can hold it, which would go unseen.

    Args:
        scenes: of types that `common_kind` knows.
    """
    types = sorted({scene.dtypes[band - 1] for scene in scenes for band in bands})
    if nodata is not None and not any(_holds(name, nodata) for name in types):
        raise ValueError(
            f"nodata {nodata:.15g} is no number of {' or '.join(types)}, which {scenes[0].path}"
            " holds: give a stored value, or leave it out"
        )


def _holds(dtype: str, value: float) -> bool:
    if np.dtype(dtype).kind == "f":
        return not math.isfinite(value) or abs(value) <= float(np.finfo(dtype).max)
    info = np.iinfo(dtype)
    return float(value).is_integer() and info.min <= value <= info.max
