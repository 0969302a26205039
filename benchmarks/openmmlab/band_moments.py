"""Standardisation of images with any number of bands, for the preprocessors of all tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class BandMoments(nn.Module):
    """What a data preprocessor needs to take other numbers of bands than 1 and 3.

    mmengine insists on these two. A base of classes whose other base is one of its preprocessors.

    Args:
        mean, std: one value a band, in stored units.
        bgr_to_rgb: turn the bands round; they must be three.
        **more: as the other base takes.

    Raises:
        ValueError: images of other bands than ``mean`` and ``std`` have.
    """

    dates = 1
    mean: Tensor
    std: Tensor

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], *, bgr_to_rgb: bool = False, **more: Any
    ) -> None:
        if len(mean) != len(std) or (bgr_to_rgb and len(mean) != 3):
            raise ValueError(
                f"data_preprocessor has {len(mean)} means and {len(std)} deviations: it needs one"
                " of each a band, and bgr_to_rgb three"
            )
        super().__init__(**more)
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor([*values] * self.dates).view(-1, 1, 1), False)
        self._enable_normalize = True
        self.bgr_to_rgb = bgr_to_rgb

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Turn a batch of the loader into ``inputs`` ``(B, C, H, W)`` and ``data_samples``."""
        images: Sequence[Tensor] = data["inputs"]
        for image in images:
            if len(image) != len(self.mean):
                what, each = ("images", "") if self.dates == 1 else ("pairs", " a date")
                raise ValueError(
                    f"{what} have {len(image)} bands, data_preprocessor.mean"
                    f" {len(self.mean) // self.dates}{each}: let it agree with the bands of the"
                    " loader (LoadRaster) and the backbone's in_channels"
                )
        if self.bgr_to_rgb:
            images = [image.unflatten(0, (-1, 3)).flip(1).flatten(0, 1) for image in images]
        return super().forward({**data, "inputs": images}, training)
