"""Standardisation of images with any number of bands for mmsegmentation, and of pairs of them."""

from __future__ import annotations

from mmseg.models import SegDataPreProcessor
from mmseg.registry import MODELS

from benchmarks.openmmlab.band_moments import BandMoments


@MODELS.register_module()
class BandSegDataPreProcessor(BandMoments, SegDataPreProcessor):
    """mmsegmentation's for any bands; arguments as `BandMoments` and `SegDataPreProcessor`."""


@MODELS.register_module()
class PairDataPreprocessor(BandSegDataPreProcessor):
    """The same for pairs ``(2C, H, W)``, both dates with the ``mean`` and ``std`` of one."""

    dates = 2
