"""Standardisation of images with any number of bands for mmdetection and mmrotate."""

from __future__ import annotations

from mmdet.models import DetDataPreprocessor
from mmengine.registry import MODELS

from benchmarks.openmmlab.band_moments import BandMoments


@MODELS.register_module()
class BandDetDataPreprocessor(BandMoments, DetDataPreprocessor):
    """mmdetection's for any bands; arguments as `BandMoments` and `DetDataPreprocessor`."""
