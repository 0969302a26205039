"""Images reach the disk whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from cmid.data.rasters import write_raster
from cmid.files import whole_file


def write_image(path: Path, pixels: NDArray[Any]) -> None:
    """Write ``(H, W)`` or ``(H, W, C)`` pixels as the ending tells: ``.png``, or ``.tif``.

    Raises:
        ModuleNotFoundError: a ``.tif`` needs rasterio, which is not installed.
    """
    with whole_file(path) as partial:
        if path.suffix == ".tif":
            # MINISBLACK: otherwise a fourth band is declared transparency.
            profile = {"photometric": "MINISBLACK", "compress": "deflate"}
            write_raster(partial, np.atleast_3d(pixels), **profile)
        else:
            PillowImage.fromarray(pixels).save(partial, format="PNG")
