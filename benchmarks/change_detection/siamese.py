"""A segmentor of two dates: one backbone, applied to both."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from mmseg.models import EncoderDecoder
from mmseg.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class SiameseEncoderDecoder(EncoderDecoder):
    """mmsegmentation's ``EncoderDecoder`` with one backbone for both dates.

    Takes pairs ``(B, 2C, H, W)``. Both dates go through the backbone in one batch, so BatchNorm
    sees both. Heads get pairs of maps ``(B, 2, D, h, w)`` (`BITHead`), or the maps ``(B, D, h, w)``
    that a neck makes of them (`FeatureDifference`).
    """

    def extract_feat(self, inputs: Tensor) -> Sequence[Tensor]:
        dates = torch.stack(inputs.chunk(2, dim=1), dim=1)  # (B, 2, C, H, W)
        maps = self.backbone(dates.flatten(0, 1))
        pairs = tuple(features.unflatten(0, (-1, 2)) for features in maps)
        return self.neck(pairs) if self.with_neck else pairs


@MODELS.register_module()
class FeatureDifference(BaseModule):
    """Neck that makes ``|f1 - f2|`` of each pair of maps, for heads that know of one image only."""

    def forward(self, pairs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Map ``(B, 2, D, h, w)`` each to ``(B, D, h, w)``."""
        return tuple((pair[:, 0] - pair[:, 1]).abs() for pair in pairs)
