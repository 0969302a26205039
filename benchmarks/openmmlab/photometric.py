"""Photometric distortion for any number of bands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS


@TRANSFORMS.register_module()
@dataclass(eq=False)
class BandPhotometricDistortion(BaseTransform):
    """Random contrast and brightness of an ``(H, W, C)`` image of any type and number of bands.

    The usual distortion (``PhotoMetricDistortion``) turns hue and saturation and assumes 8-bit
    colour. Here each band ``v`` of mean m and standard deviation s in this image becomes
    ``m + c (v - m) + b s``, with one ``c`` and ``b`` for all bands times and plus smaller ones for
    each. Whole-number types are rounded and clipped to their range.

    Args:
        brightness: largest ``|b|`` for all bands, in standard deviations.
        contrast: largest ``|log c|`` for all bands.
        per_band: share of ``b`` and ``log c`` that each band may differ by.
        prob: probability of distorting an image.
    """

    brightness: float = 0.5
    contrast: float = 0.4
    per_band: float = 0.3
    prob: float = 0.8

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        if np.random.random() >= self.prob:
            return results
        image = results["img"]
        values = np.atleast_3d(image).astype(np.float32)
        mean, deviation = values.mean(axis=(0, 1)), values.std(axis=(0, 1))
        gain = np.exp(self.contrast * self._draw(len(mean)))
        offset = self.brightness * self._draw(len(mean))
        values = (mean + gain * (values - mean) + offset * deviation).reshape(image.shape)
        if np.issubdtype(image.dtype, np.integer):
            limits = np.iinfo(image.dtype)
            values = np.rint(values).clip(limits.min, limits.max)
        results["img"] = values.astype(image.dtype)
        return results

    def _draw(self, bands: int) -> np.ndarray:
        """``(C,)``: a value in [-1, 1] for all bands, plus a part of such a value for each."""
        return np.random.uniform(-1, 1) + self.per_band * np.random.uniform(-1, 1, bands)
