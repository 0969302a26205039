"""One large generated scene with its labels, on disk as GeoTIFF: what whole scenes are tried on."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from cmid.data.rasters import opened, rasterio_module
from cmid.data.scenes.annotations import SEMANTIC_CLASSES
from cmid.data.scenes.mosaic import PLACE, Strip, mosaic
from cmid.data.writing import write_image
from cmid.files import check_new, whole_file
from cmid.inference.products import Classes

TILE = PLACE
_NAMES = ("first", "second", "labels", "change")
_COLOURS = (
    *((150, 200, 90), (225, 205, 90), (20, 110, 40), (170, 120, 80), (50, 110, 220)),
    *((150, 150, 150), (215, 60, 50), (255, 140, 0), (160, 60, 200), (0, 210, 210)),
    (255, 80, 180),
)


def write_whole_scene(out: Path, *, size: int, bands: int, seed: int, crs: str) -> int:
    """Write a scene, and tiles of its upper quarter as mmsegmentation lays them, and pairs of them.

    ``first.tif`` and ``second.tif`` are uint8 of both dates, ``labels.tif`` holds indices into
    `SEMANTIC_CLASSES` at the first, ``change.tif`` 1 where the material has changed. Pixels are a
    metre, or 0.00001 degrees. ``quarter/{img_dir,ann_dir}/{train,val}`` are tiles of 128 pixels,
    every fifth for validation; ``second_dir`` holds them at the second date, ``change_dir`` what
    has changed.

    Args:
        size: height and width in pixels, four tiles or more.
        bands: number of bands, 3 or more. seed: of the places. crs: such as ``EPSG:32633``.

    Returns:
        The number of tiles.

    Raises:
        FileExistsError: the folder holds something.
        ValueError: no such reference system; a size or a number of bands that scenes do not have.
    """
    if size < 4 * TILE:
        raise ValueError(f"a scene of {size} pixels has no quarter: --size {4 * TILE} or more")
    check_new(out)
    profile = _georeference(crs) | {"height": size, "width": size, "dtype": "uint8"}
    counts = {"first": bands, "second": bands, "labels": 1, "change": 1}
    number, quarter = 0, size // 4 // TILE * TILE
    with ExitStack() as stack:
        files = {}
        for name in _NAMES:
            path = stack.enter_context(whole_file(out / f"{name}.tif"))
            files[name] = stack.enter_context(opened(path, "w", count=counts[name], **profile))
        Classes(SEMANTIC_CLASSES, _COLOURS).describe(files["labels"])
        for strip in mosaic(size, num_bands=bands, seed=seed):
            for name, file in files.items():
                layer: NDArray[Any] = getattr(strip, name)
                layer = layer if layer.ndim == 3 else layer[None]
                window = rasterio_module().windows.Window(0, strip.row, size, layer.shape[1])
                file.write(layer, window=window)
            if strip.row < quarter:
                number = _write_tiles(out / "quarter", strip, number)
    return number


def _georeference(crs: str) -> dict[str, Any]:
    rasterio = rasterio_module("a scene of GeoTIFFs")
    try:
        system = rasterio.crs.CRS.from_user_input(crs)
    except rasterio.errors.CRSError as error:
        raise ValueError(f"--crs {crs} is no reference system: give one as EPSG:32633") from error
    place = (15.0, 45.0, 1e-5, 1e-5) if system.is_geographic else (500_000, 5_000_000, 1, 1)
    return {
        "driver": "GTiff",
        "crs": system,
        "transform": rasterio.transform.from_origin(*place),
        "photometric": "MINISBLACK",  # otherwise a fourth band is declared transparency
        **{"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate"},
    }


def _write_tiles(folder: Path, strip: Strip, number: int) -> int:
    """Cut a strip to tiles; returns the number that the next one has."""
    for left in range(0, strip.labels.shape[1] - TILE + 1, TILE):
        part = "val" if number % 5 == 4 else "train"
        columns = slice(left, left + TILE)
        for name, pixels in (("img_dir", strip.first), ("second_dir", strip.second)):
            tile = pixels[:, :, columns].transpose(1, 2, 0)
            write_image(folder / name / part / f"{number:05}.tif", tile)
        for name, mask in (("ann_dir", strip.labels), ("change_dir", strip.change)):
            write_image(folder / name / part / f"{number:05}.png", mask[:, columns])
        number += 1
    return number
