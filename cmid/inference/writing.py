"""Maps on disk: strips as they come, then cloud-optimised GeoTIFFs; resumable."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from cmid.data.rasters import opened, rasterio_module
from cmid.files import whole_file
from cmid.inference.products import Product
from cmid.inference.scenes import Area
from cmid.inference.streaming import Strip
from cmid.inference.unfinished import Unfinished

_BLOCK = 512


def write_maps(
    out: Path,
    products: Sequence[Product],
    strips: Callable[[int], Iterator[Strip]],
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
        strips: the strips from a number on.
        count: how many there are.
        area: where the result lies, in its own cells.
        job: what the result depends on, of JSON types.
        resume: go on with unfinished strips of the same job.
        then: what makes further files of the rasters, before the strips are forgotten.

    Returns:
        The rasters, ``out/PRODUCT.tif``, and further files.

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
    names = [product.name for product in products]
    unfinished = Unfinished(out, job, names=names, count=count, resume=resume)
    first = unfinished.first
    with tqdm(total=count, initial=first, desc="map", unit="strip", disable=None) as bar:
        for strip in strips(first) if first < count else ():
            unfinished.save(strip.number, (product.bands(strip) for product in products))
            bar.update()
    paths = [_assemble(out, unfinished, product, count, area) for product in products]
    paths += then(paths) if then else []
    unfinished.remove()
    return paths


def _assemble(out: Path, unfinished: Unfinished, product: Product, count: int, area: Area) -> Path:
    """One cloud-optimised GeoTIFF of all strips of a product."""
    from rio_cogeo.cogeo import cog_translate

    rasterio = rasterio_module()
    bands = unfinished.load(product.name, 0).shape[0]
    tiles = {"tiled": True, "blockxsize": _BLOCK, "blockysize": _BLOCK, "bigtiff": "if_safer"}
    # Whole strips are written band by band: pixels side by side would be packed again and again.
    place = {"height": area.height, "width": area.width, "interleave": "band", **tiles}
    georeference = {"crs": area.crs, "transform": area.transform, "nodata": product.nodata}
    plain = unfinished.folder / f"{product.name}.tif"
    with opened(
        plain,
        "w",
        driver="GTiff",
        count=bands,
        dtype=product.dtype,
        **place,
        **georeference,
    ) as file:
        product.describe(file)
        row = 0
        for number in range(count):
            values = unfinished.load(product.name, number)
            window = rasterio.windows.Window(0, row, area.width, values.shape[1])
            file.write(values, window=window)
            row += values.shape[1]
    path = out / f"{product.name}.tif"
    sides = {"blockxsize": _BLOCK, "blockysize": _BLOCK}
    profile = {"driver": "COG", "bigtiff": "if_safer", **sides, **product.creation}
    with whole_file(path) as part:
        cog_translate(
            plain,
            part,
            profile,
            overview_resampling=product.resampling,
            forward_band_tags=True,
            in_memory=False,
            quiet=True,
            use_cog_driver=True,
        )
    return path
