"""Products of Sentinel-2 as ESA delivers them: a folder ``.SAFE`` as one raster of all bands."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

from cmid.data.source import UnreadableImageError

# Also in the order of the numbers that the metadata give them.
BANDS = (*(f"B{n:02}" for n in range(1, 9)), "B8A", *(f"B{n:02}" for n in range(9, 13)))
_FILE = re.compile(r"_(B(?:0[1-9]|1[0-2]|8A))(?:_\d\dm)?\.(?:jp2|tif)$", re.IGNORECASE)


class _BandFile(NamedTuple):
    pixel: float
    path: Path
    width: int
    height: int
    block: tuple[int, int]
    dtype: str


@lru_cache(maxsize=64)
def safe_raster(folder: str) -> str:
    """A virtual raster (GDAL's VRT) of a product: all bands at the resolution of the finest one.

    Coarser bands are interpolated between the centres of their pixels. Scale and offset are those
    of the product's metadata, so that values are reflectances whatever its processing baseline.

    Raises:
        UnreadableImageError: no bands are there, or those of several granules.
    """
    granules: dict[str, dict[str, list[Path]]] = {}
    for path in sorted(Path(folder).glob("GRANULE/*/IMG_DATA/**/*")):
        if found := _FILE.search(path.name):
            granule = granules.setdefault(path.relative_to(folder).parts[1], {})
            granule.setdefault(found[1].upper(), []).append(path.resolve())
    if len(granules) != 1:
        there = ", ".join(granules) or "none"
        raise UnreadableImageError(
            f"{folder} should have bands of one granule in GRANULE/*/IMG_DATA, and has {there}:"
            " give a whole product of one granule"
        )
    (granule,) = granules.values()
    best = {name: min(map(_described, granule[name])) for name in BANDS if name in granule}
    finest = min(best.values())
    root = ElementTree.Element(
        "VRTDataset", rasterXSize=str(finest.width), rasterYSize=str(finest.height)
    )
    _georeference(root, finest.path)
    scales = _scales(Path(folder))
    for number, (name, file) in enumerate(best.items(), 1):
        _add_band(root, number, name, file, finest, scales.get(name))
    return ElementTree.tostring(root, encoding="unicode")


def _described(path: Path) -> _BandFile:
    from cmid.data.rasters import one_line_errors, opened

    with one_line_errors(str(path)), opened(path) as scene:
        block = scene.block_shapes[0]
        return _BandFile(
            abs(scene.transform.a), path, scene.width, scene.height, block, scene.dtypes[0]
        )


def _georeference(root: ElementTree.Element, path: Path) -> None:
    from cmid.data.rasters import opened

    with opened(path) as scene:
        _add(root, "SRS", scene.crs.to_wkt() if scene.crs else "")
        _add(root, "GeoTransform", ", ".join(map(repr, scene.transform.to_gdal())))


def _add_band(
    root: ElementTree.Element,
    number: int,
    name: str,
    file: _BandFile,
    finest: _BandFile,
    scale: tuple[float, float] | None,
) -> None:
    kind = {"uint8": "Byte", "uint16": "UInt16", "int16": "Int16"}[file.dtype]
    rows, columns = finest.block
    band = ElementTree.SubElement(
        root, "VRTRasterBand", dataType=kind, band=str(number),
        blockXSize=str(columns), blockYSize=str(rows),
    )  # fmt: skip
    _add(band, "Description", name)
    _add(band, "NoDataValue", 0)
    if scale is not None:
        _add(band, "UnitType", "reflectance")
        _add(band, "Scale", repr(scale[0]))
        _add(band, "Offset", repr(scale[1]))
    source = ElementTree.SubElement(band, "ComplexSource", resampling="bilinear")
    _add(source, "SourceFilename", file.path)
    _add(source, "SourceBand", 1)
    for tag, side in (("SrcRect", file), ("DstRect", finest)):
        place = {"xOff": "0", "yOff": "0", "xSize": str(side.width), "ySize": str(side.height)}
        ElementTree.SubElement(source, tag, place)
    _add(source, "NODATA", 0)


def _add(parent: ElementTree.Element, tag: str, text: Any) -> None:
    ElementTree.SubElement(parent, tag).text = str(text)


def _scales(folder: Path) -> dict[str, tuple[float, float]]:
    """Scale and offset of each band as the metadata of the product tell; none without them."""
    found = sorted(folder.glob("MTD_MSIL*.xml"))
    if not found:
        return {}
    divisor, offsets = 0.0, dict.fromkeys(BANDS, 0.0)
    for element in ElementTree.parse(found[0]).iter():
        tag = element.tag.rpartition("}")[2]
        if tag in ("QUANTIFICATION_VALUE", "BOA_QUANTIFICATION_VALUE"):
            divisor = float(element.text or 0)
        elif tag in ("RADIO_ADD_OFFSET", "BOA_ADD_OFFSET"):
            offsets[BANDS[int(element.attrib["band_id"])]] = float(element.text or 0)
    return {name: (1 / divisor, value / divisor) for name, value in offsets.items() if divisor}
