"""Images reach the disk whole or not at all."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from cmid.files import whole_file


def write_image(path: Path, pixels: NDArray[Any]) -> None:
    """Write ``(H, W)`` or ``(H, W, C)`` pixels as the ending tells: ``.png``, or ``.tif``.

    Raises:
        ModuleNotFoundError: a ``.tif`` needs rasterio, which is not installed.
    """
    with whole_file(path) as partial:
        if path.suffix == ".tif":
            _write_geotiff(partial, np.atleast_3d(pixels).transpose(2, 0, 1))
        else:
            PillowImage.fromarray(pixels).save(partial, format="PNG")


def _write_geotiff(path: Path, pixels: NDArray[Any]) -> None:
    try:
        import rasterio
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"writing {path} needs rasterio: pip install 'cmid[geo]'"
        ) from error
    count, height, width = pixels.shape
    shape = {"count": count, "height": height, "width": width, "dtype": pixels.dtype}
    # MINISBLACK: otherwise a fourth band is declared transparency.
    kind = {"driver": "GTiff", "photometric": "MINISBLACK", "compress": "deflate"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path, "w", **kind, **shape) as file:
            file.write(pixels)
