"""A segmentor of two dates: one backbone, applied to both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseModule
from mmseg.models import EncoderDecoder, SegDataPreProcessor
from mmseg.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class PairDataPreprocessor(SegDataPreProcessor):
    """Standardise, pad and stack pairs ``(2C, H, W)``.

    Args:
        mean, std: mean and deviation of each band of a date, in stored units; both get the same.
        bgr_to_rgb: turn the bands of each date round; they must be three.
        **more: padding, as in `mmseg.models.SegDataPreProcessor`.

    Raises:
        ValueError: images of other bands than ``mean`` and ``std`` have.
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        bgr_to_rgb: bool = False,
        **more: Any,
    ) -> None:
        if len(mean) != len(std) or (bgr_to_rgb and len(mean) != 3):
            raise ValueError(
                f"data_preprocessor has {len(mean)} means and {len(std)} deviations: it needs one"
                " of each a band, and bgr_to_rgb three"
            )
        super().__init__(**more)
        self.register_buffer("mean", torch.tensor([*mean, *mean]).view(-1, 1, 1), False)
        self.register_buffer("std", torch.tensor([*std, *std]).view(-1, 1, 1), False)
        self._enable_normalize = True
        self.bgr_to_rgb = bgr_to_rgb

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Turn a batch of the loader into ``inputs`` ``(B, 2C, H, W)`` and ``data_samples``."""
        pairs = data["inputs"]
        for pair in pairs:
            if len(pair) != len(self.mean):
                raise ValueError(
                    f"pairs have {len(pair)} bands, data_preprocessor.mean {len(self.mean) // 2} a"
                    " date: let it agree with the loader's bands and the backbone's in_channels"
                )
        if self.bgr_to_rgb:
            pairs = [pair[[2, 1, 0, 5, 4, 3]] for pair in pairs]
        return super().forward({**data, "inputs": pairs}, training)


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
