"""Standardisation of images with any number of bands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmseg.models import SegDataPreProcessor
from mmseg.registry import MODELS


@MODELS.register_module()
class BandSegDataPreProcessor(SegDataPreProcessor):
    """``SegDataPreProcessor`` for other numbers of bands than 1 and 3, which mmengine insists on.

    Args:
        mean, std: one value a band, in stored units.
        **more: as `mmseg.models.SegDataPreProcessor`.

    Raises:
        ValueError: images of other bands than ``mean`` and ``std`` have.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], **more: Any) -> None:
        if len(mean) != len(std):
            raise ValueError(f"data_preprocessor has {len(mean)} means and {len(std)} deviations")
        super().__init__(**more)
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), False)
        self._enable_normalize = True

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Standardise, pad and stack a batch."""
        for image in data["inputs"]:
            if len(image) != len(self.mean):
                raise ValueError(
                    f"images have {len(image)} bands, data_preprocessor.mean {len(self.mean)}: let"
                    " it agree with LoadRaster's bands and the backbone's in_channels"
                )
        return super().forward(data, training)
