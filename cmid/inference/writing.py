"""Maps on disk: strips as they come, then cloud-optimised GeoTIFFs; resumable."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from cmid.data.rasters import geo_module, opened, rasterio_module
from cmid.files import whole_file
from cmid.inference.earlier import JOB_TAG, refuse_other
from cmid.inference.products import Product
from cmid.inference.scenes import Area
from cmid.inference.streaming import Piece
from cmid.inference.unfinished import Unfinished

_COLUMNS = 2048  # that GDAL is given at a time


def write_maps(
    out: Path,
    products: Sequence[Product],
    pieces: Callable[[int], Iterator[Piece]],
    *,
    count: int,
    area: Area,
    job: Mapping[str, Any],
    resume: bool = False,
    then: Callable[[Sequence[Path]], Sequence[Path]] | None = None,
) -> list[Path]:
    """Write the rasters of a map.

    Strips lie in ``out/unfinished`` until all are there. A run that was killed goes on with the
    first that is missing, and ends with the same files.

    Args:
        pieces: the pieces of the strips from a number on.
        count: how many strips there are.
        area: where the result lies, in its own cells.
        job: what the result depends on, of JSON types.
        resume: go on with unfinished strips of the same job.
        then: what makes further files of the rasters, before the strips are forgotten.

    Returns:
        The rasters, ``out/PRODUCT.tif``, and further files.

    Raises:
        FileExistsError: unfinished strips lie there, and it is not to be resumed.
        ValueError: they are of another job; or a raster of this name is of other scenes.
        NoRoomError: the disk is full.
    """
    names = [product.name for product in products]
    for name in names:
        refuse_other(out / f"{name}.tif", job)
    unfinished = Unfinished(out, job, names=names, count=count, resume=resume)
    _save_strips(unfinished, products, pieces, count=count, width=area.width)
    paths = [_assemble(out, unfinished, product, count, area) for product in products]
    paths += then(paths) if then else []
    unfinished.remove()
    return paths


def _save_strips(
    unfinished: Unfinished,
    products: Sequence[Product],
    pieces: Callable[[int], Iterator[Piece]],
    *,
    count: int,
    width: int,
) -> None:
    """Keep the strips that are missing; of numbers only a piece is held at a time."""
    first = unfinished.first
    strip: list[NDArray[Any]] = []
    with tqdm(total=count, initial=first, desc="map", unit="strip", disable=None) as bar:
        for piece in pieces(first) if first < count else ():
            bands = [product.bands(piece) for product in products]
            if not piece.column:
                strip = [np.empty((*b.shape[:2], width), dtype=b.dtype) for b in bands]
            end = piece.column + piece.missing.shape[1]
            for whole, part in zip(strip, bands, strict=True):
                whole[..., piece.column : end] = part
            if end == width:
                unfinished.save(piece.number, strip)
                bar.update()


def _assemble(out: Path, unfinished: Unfinished, product: Product, count: int, area: Area) -> Path:
    """One cloud-optimised GeoTIFF of all strips of a product."""
    path = out / f"{product.name}.tif"
    # Of a copy GDAL's own error comes through.
    errors = rasterio_module().errors.RasterioError, geo_module("rasterio._err").CPLE_BaseError
    with whole_file(path) as part:
        try:
            _write(part, unfinished, product, count, area)
            # Of a full disk GDAL may say nothing, and leave a file of which parts are missing.
            with opened(part) as file:
                for window, values in _parts(unfinished, product, count):
                    if not np.array_equal(file.read(window=window), values, equal_nan=True):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except errors as error:
            reason = str(error.__cause__ or error)
            raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {reason}") from error
    return path


def _parts(
    unfinished: Unfinished, product: Product, count: int
) -> Iterator[tuple[Any, NDArray[np.generic]]]:
    """Windows of the raster, as rasterio has them, and their bands."""
    row = 0
    for number in range(count):
        strip = unfinished.load(product.name, number)
        height = strip.shape[1]
        for left in range(0, strip.shape[2], _COLUMNS):
            values = strip[..., left : left + _COLUMNS].copy()
            yield rasterio_module().windows.Window(left, row, values.shape[2], height), values
        row += height
        del strip  # before there is the next one


def _write(path: Path, unfinished: Unfinished, product: Product, count: int, area: Area) -> None:
    bands = unfinished.load(product.name, 0).shape[0]
    sides = {"blockxsize": product.block, "blockysize": product.block}
    tiles = {"tiled": True, "bigtiff": "if_safer", **sides}
    # Whole strips are written band by band: pixels side by side would be packed again and again.
    place = {"height": area.height, "width": area.width, "interleave": "band", **tiles}
    georeference = {"crs": area.crs, "transform": area.transform, "nodata": product.nodata}
    plain = unfinished.folder / f"{product.name}.tif"
    kind = {"driver": "GTiff", "count": bands, "dtype": product.dtype}
    with opened(plain, "w", **kind, **place, **georeference) as file:
        product.describe(file)
        file.update_tags(**{JOB_TAG: (unfinished.folder / "job.json").read_text()})
        for window, values in _parts(unfinished, product, count):
            file.write(values, window=window)
    overviews = {"overview_resampling": product.resampling}
    options = {"bigtiff": "if_safer", "blocksize": product.block, **overviews, **product.creation}
    geo_module("rasterio.shutil").copy(plain, path, driver="COG", **options)
