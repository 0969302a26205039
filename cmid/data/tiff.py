"""What the tags of a TIFF say of its numbers, where Pillow alone would read them wrongly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from cmid.data.rasters import opened_bytes
from cmid.data.values import BandScale, ValueKind, missing_pixels, name_of_type

TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BITS, _EXTRA_SAMPLES, _SAMPLE_FORMAT, _GDAL_METADATA, _GDAL_NODATA = 258, 338, 339, 42112, 42113
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3


@dataclass(frozen=True)
class StoredNumbers:
    """What the stored numbers of an image file mean.

    Attributes:
        dtype: type of the stored numbers; ``uint8`` also for 1, 2 and 4 bits.
        nodata: the value that marks missing pixels, None without one.
        scales, offsets: scale and offset of bands that have them, by band number from 0.
        unit: physical unit, where all bands that have one have the same.
    """

    dtype: str
    nodata: float | None = None
    scales: Mapping[int, float] = field(default_factory=dict)
    offsets: Mapping[int, float] = field(default_factory=dict)
    unit: str = ""

    def interpret(self, array: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_], ValueKind]:
        """Stored numbers ``(C, H, W)`` to values, which of them are missing, and their kind."""
        bands = range(len(array))
        missing = missing_pixels(array, [self.nodata] * len(array))
        scale = BandScale(
            tuple(self.scales.get(band, 1.0) for band in bands),
            tuple(self.offsets.get(band, 0.0) for band in bands),
        )
        return scale.apply(array), missing, ValueKind(self.dtype, scale.changes, self.unit)


def tiff_numbers(tags: Any) -> StoredNumbers:
    """Read the tags (Pillow's ``tag_v2``) of a TIFF.

    Raises:
        ValueError: complex numbers, or more bands than a picture has.
    """
    bits, form = max(tags.get(_BITS, (1,))), max(tags.get(_SAMPLE_FORMAT, (_UNSIGNED,)))
    if 0 in tags.get(_EXTRA_SAMPLES, ()):
        raise ValueError(f"{len(tags.get(_BITS, ()))} bands: read it with RasterWindows")
    kind = {_UNSIGNED: "uint", _SIGNED: "int", _FLOAT: "float"}.get(form, "uint")
    width = next((size for size in (8, 16, 32, 64) if bits <= size), 64)
    dtype = name_of_type(f"{kind}{max(width, 16) if kind == 'float' else width}")
    try:
        text = str(tags.get(_GDAL_NODATA, "")).strip("\0 ")
        nodata = float(text) if text else None
    except ValueError:
        nodata = None  # no number, as other programs use the tag
    scales, offsets, units = _gdal_metadata(str(tags.get(_GDAL_METADATA, "")))
    return StoredNumbers(dtype, nodata, scales, offsets, units.pop() if len(units) == 1 else "")


def _gdal_metadata(text: str) -> tuple[dict[int, float], dict[int, float], set[str]]:
    """Scales and offsets by band, and units."""
    scales, offsets, units = dict[int, float](), dict[int, float](), set[str]()
    try:
        items = ElementTree.fromstring(text.strip("\0 \n")).iter("Item") if text else iter(())
    except ElementTree.ParseError:
        return scales, offsets, units
    for item in items:
        role, band = item.get("role"), int(item.get("sample", 0))
        if role == "scale":
            scales[band] = float(item.text or 1)
        elif role == "offset":
            offsets[band] = float(item.text or 0)
        elif role == "unittype" and item.text:
            units.add(item.text.strip())
    return scales, offsets, units


def read_by_rasterio(data: bytes) -> tuple[NDArray[Any], StoredNumbers]:
    """Stored numbers ``(C, H, W)`` of a TIFF that Pillow reads wrongly, and what they mean.

    Raises:
        ModuleNotFoundError: rasterio is not installed.
        ValueError: more bands than a picture has, or complex numbers.
    """
    with opened_bytes(data) as raster:
        alpha = raster.count == 4 and raster.colorinterp[3].name == "alpha"
        if raster.count not in (1, 3) and not alpha:
            raise ValueError(f"{raster.count} bands: read it with RasterWindows")
        units = {unit for unit in raster.units[:3] if unit}
        values = StoredNumbers(
            name_of_type(raster.dtypes[0]),
            raster.nodatavals[0],
            dict(enumerate(raster.scales)),
            dict(enumerate(raster.offsets)),
            units.pop() if len(units) == 1 else "",
        )
        return raster.read()[:3], values
