"""Maps on disk: strips as they come, then cloud-optimised GeoTIFFs; resumable."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from cmid.data.rasters import opened, rasterio_module
from cmid.files import whole_file, write_text
from cmid.inference.products import Product
from cmid.inference.scenes import Area
from cmid.inference.streaming import Strip

logger = logging.getLogger(__name__)
# A tag of every map: the job as JSON.
JOB_TAG = "CMID_JOB"


def write_maps(
    out: Path,
    products: Sequence[Product],
    strips: Callable[[int], Iterator[Strip]],
    *,
    count: int,
    area: Area,
    job: Mapping[str, Any],
    resume: bool = False,
) -> list[Path]:
    """Write the rasters of a map.

    Strips lie in ``out/unfinished`` until all are there. A run that was killed goes on with the
    first that is missing, and ends with the same files.

    Args:
        strips: the strips from a number on.
        count: how many there are.
        area: where the result lies, in its own cells.
        job: what the result depends on, of JSON types.
        resume: go on with unfinished strips of the same job.

    Returns:
        The rasters, ``out/PRODUCT.tif``.

    Raises:
        FileExistsError: unfinished strips lie there, and it is not to be resumed.
        ValueError: they are of another job.
        NoRoomError: the disk is full.
        ModuleNotFoundError: rio-cogeo is not installed.
    """
    try:
        import rio_cogeo  # noqa: F401  # before hours of work, not after them
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("maps need rio-cogeo: pip install 'cmid[geo]'") from error
    scratch = out / "unfinished"
    first = _begin(scratch, job, products, resume=resume)
    if first:
        logger.info("%d of %d strips of tiles were there already", first, count)
    bar = tqdm(total=count, initial=first, desc="map", unit="strip", disable=None)
    with bar:
        for strip in strips(first) if first < count else ():
            for product in products:
                part = whole_file(_part(scratch, product, strip.number))
                with part as path, path.open("wb") as file:
                    np.save(file, product.bands(strip))
            bar.update()
    paths = [_assemble(out, scratch, product, count, area) for product in products]
    shutil.rmtree(scratch)
    return paths


def _begin(
    scratch: Path, job: Mapping[str, Any], products: Sequence[Product], *, resume: bool
) -> int:
    """The first strip that is missing."""
    record, said = scratch / "job.json", json.dumps(job, indent=2, sort_keys=True)
    if record.exists() and not resume:
        raise FileExistsError(
            f"{scratch} holds strips of a map that was not finished: go on with --resume, or"
            " delete it"
        )
    if record.exists() and record.read_text() != said:
        before = json.loads(record.read_text())
        keys = [key for key in {**before, **job} if before.get(key) != json.loads(said).get(key)]
        raise ValueError(
            f"{scratch} is of a map with another {', '.join(keys)}: repeat the command that began"
            " it, or delete it"
        )
    write_text(record, said)
    number = 0
    while all(_part(scratch, product, number).exists() for product in products):
        number += 1
    return number


def _part(scratch: Path, product: Product, number: int) -> Path:
    return scratch / f"{product.name}-{number:06}.npy"


def _assemble(out: Path, scratch: Path, product: Product, count: int, area: Area) -> Path:
    """One cloud-optimised GeoTIFF of all strips of a product."""
    path = out / f"{product.name}.tif"
    errors = rasterio_module().errors
    with whole_file(path) as part:
        try:
            _write(part, scratch, product, count, area)
            # Of a full disk GDAL may say nothing, and leave a file of which parts are missing.
            with opened(part) as file:
                for window, values in _strips(scratch, product, count):
                    if not np.array_equal(file.read(window=window), values, equal_nan=True):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except errors.RasterioError as error:
            reason = str(error.__cause__ or error)
            raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {reason}") from error
    return path


def _strips(
    scratch: Path, product: Product, count: int
) -> Iterator[tuple[Any, NDArray[np.generic]]]:
    """Where each strip lies, as rasterio has it, and its bands."""
    row = 0
    for number in range(count):
        values = np.load(_part(scratch, product, number))
        _, height, width = values.shape
        yield rasterio_module().windows.Window(0, row, width, height), values
        row += height


def _write(path: Path, scratch: Path, product: Product, count: int, area: Area) -> None:
    from rio_cogeo.cogeo import cog_translate

    bands = np.load(_part(scratch, product, 0), mmap_mode="r").shape[0]
    sides = {"blockxsize": product.block, "blockysize": product.block}
    tiles = {"tiled": True, "bigtiff": "if_safer", **sides}
    # Whole strips are written band by band: pixels side by side would be packed again and again.
    place = {"height": area.height, "width": area.width, "interleave": "band", **tiles}
    georeference = {"crs": area.crs, "transform": area.transform, "nodata": product.nodata}
    plain = scratch / f"{product.name}.tif"
    kind = {"driver": "GTiff", "count": bands, "dtype": product.dtype}
    with opened(plain, "w", **kind, **place, **georeference) as file:
        product.describe(file)
        file.update_tags(**{JOB_TAG: (scratch / "job.json").read_text()})
        for window, values in _strips(scratch, product, count):
            file.write(values, window=window)
    cog_translate(
        plain,
        path,
        {"driver": "COG", "bigtiff": "if_safer", **sides, **product.creation},
        overview_resampling=product.resampling,
        forward_band_tags=True,
        in_memory=False,
        quiet=True,
        use_cog_driver=True,
    )
