"""Rasters at another resolution than they are stored in."""

from __future__ import annotations

import math
import os
from typing import Any

from cmid.data.rasters import geo_module, is_transparency, one_line_errors, opened, rasterio_module


def opened_at(
    path: str | os.PathLike[str],
    resolution: float | None,
    *,
    crs: Any = None,
    nodata: float | None = None,
    usual: float | None = None,
) -> Any:
    """An open raster, resampled while it is read where its grid is another one.

    Values are averaged where pixels grow by half or more, else interpolated between the centres of
    their neighbours; missing pixels do not count.

    Args:
        resolution: side of the pixels in units of ``crs``; the grid's lines are multiples of it,
            so that all rasters of a resolution and a system fit together. None: as stored.
        crs: reference system; the raster's own by default.
        nodata: value of missing pixels; by default the raster's own, else the ``usual`` one.

    Raises:
        ValueError: it has no reference system, or bands of several nodata values; or the
            resolution is not positive.
    """
    if resolution is not None and not 0 < resolution < math.inf:
        raise ValueError(f"resolution {resolution} must be a positive number")
    scene = opened(path)
    if resolution is None:
        return scene
    if scene.crs is None:
        raise ValueError(f"{path} has no reference system: leave out the resolution")
    known = {repr(value): value for value in scene.nodatavals}
    if nodata is None and len(known) > 1:
        raise ValueError(
            f"{path} has bands whose nodata values are {', '.join(known)}: give nodata, or leave"
            " out the resolution"
        )
    rasterio = rasterio_module()
    resampling = rasterio.enums.Resampling
    transform_bounds = geo_module("rasterio.warp").transform_bounds

    crs = crs or scene.crs
    with one_line_errors(os.fspath(path)):
        left, bottom, right, top = transform_bounds(scene.crs, crs, *scene.bounds)
    # A border that lies on a line of the grid to the last digits is meant to.
    west, north = math.floor(left / resolution + 1e-6), math.ceil(top / resolution - 1e-6)
    width = math.ceil(right / resolution - 1e-6) - west
    height = north - math.floor(bottom / resolution + 1e-6)
    transform = rasterio.Affine(
        resolution, 0, west * resolution, 0, -resolution, north * resolution
    )
    same = transform.almost_equals(scene.transform, precision=1e-6 * resolution)
    if same and crs == scene.crs and scene.shape == (height, width):
        return scene
    grows = 2 * resolution >= 3 * (right - left) / scene.width
    value = next((v for v in (nodata, scene.nodatavals[0], usual) if v is not None), None)
    # A uint8 pixel is missing only where all bands are, as everywhere else.
    together = {"UNIFIED_SRC_NODATA": "YES"} if scene.dtypes[0] == "uint8" else {}
    source = _without_alpha(scene)
    alpha = rasterio.enums.ColorInterp.alpha in source.colorinterp
    return geo_module("rasterio.vrt").WarpedVRT(
        source,
        crs=crs,
        transform=transform,
        width=width,
        height=height,
        resampling=resampling.average if grows else resampling.bilinear,
        src_nodata=value,
        nodata=value,
        add_alpha=value is None and not alpha,  # tells what lies beyond the source, too
        **together,
    )


def _without_alpha(scene: Any) -> Any:
    """A raster of which no other band than transparency is declared alpha.

    GDAL would weight the others by it.
    """
    rasterio = rasterio_module()
    alpha = rasterio.enums.ColorInterp.alpha
    if alpha not in scene.colorinterp:
        return scene
    shape = tuple(min(side, 512) for side in scene.shape)
    if is_transparency(scene.read(1 + scene.colorinterp.index(alpha), out_shape=shape)):
        return scene
    with rasterio.MemoryFile(ext=".vrt") as memory:
        geo_module("rasterio.shutil").copy(scene, memory.name, driver="VRT")
        text = memory.read().decode()
    return opened(text.replace("<ColorInterp>Alpha<", "<ColorInterp>Undefined<"))
