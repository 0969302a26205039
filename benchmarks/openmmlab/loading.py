"""Pictures and rasters for the pipelines of mmsegmentation, mmdetection and ours.

OpenCV changes the values of some, and fills what a damaged file lacks with grey.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

from benchmarks.openmmlab.eight_bits import check_eight_bits
from cmid.data.decoding import read_image
from cmid.data.raster_reading import read_raster


@TRANSFORMS.register_module()
@dataclass(eq=False)
class LoadRaster(BaseTransform):
    """Read a GeoTIFF, or any other raster that rasterio opens, with all its bands or some of them.

    Takes ``img_path``. Adds ``img``, ``(H, W, C)`` in the order of ``bands`` (so RGB stays RGB: the
    data preprocessor needs ``bgr_to_rgb=False``), uint8 where the file is, float32 otherwise;
    ``img_shape`` and ``ori_shape``; and ``missing``, ``(H, W)`` bool, True where no band has a
    value. Missing values (nodata, NaN, infinite, masked) took the mean of their band in this image.

    Args:
        bands: which to read, by name or counted from 1 as rasterio does; all by default.
        nodata: overrides the nodata value of the files.
        sensor: sensor preset, see `cmid.data.RasterWindows`.

    Raises:
        UnreadableImageError, ValueError: as `cmid.data.raster_reading.read_raster`.
    """

    bands: Sequence[int | str] | None = None
    nodata: float | None = None
    sensor: str | None = None

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        values, missing = read_raster(
            results["img_path"], bands=self.bands, nodata=self.nodata, sensor=self.sensor
        )
        results["img"] = np.ascontiguousarray(values.transpose(1, 2, 0))
        results["img_shape"] = results["ori_shape"] = values.shape[1:]
        results["missing"] = missing.all(axis=0)
        return results


@TRANSFORMS.register_module()
class LoadPicture(BaseTransform):
    """Read an image file of 8 bits as ``LoadImageFromFile`` does, but a damaged one is an error.

    Takes ``img_path``. Adds ``img``, ``(H, W, 3)`` uint8, BGR; ``img_shape`` and ``ori_shape``; and
    ``missing``, ``(H, W)`` bool, where the file tells of missing values. These took the mean of
    their band in this image.

    Raises:
        UnreadableImageError: missing, empty, truncated or not an image.
        ValueError: other than 1 or 3 bands, or more than 8 bits, see `check_eight_bits`.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        check_eight_bits(results["img_path"])
        image = read_image(results["img_path"])
        results["img"] = np.ascontiguousarray(image.pixels.flip(0).permute(1, 2, 0).numpy())
        results["img_shape"] = results["ori_shape"] = image.full_size
        if image.missing is not None:
            results["missing"] = image.missing.all(0).numpy()
        return results
