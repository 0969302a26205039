"""Both views of a batch, ready for the encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cmid.data.statistics import ChannelStatistics
from cmid.views.colour import ColourAugmentation, Standardize
from cmid.views.config import ViewColourConfig
from cmid.views.masks import expand_mask, fill_masked


@dataclass(frozen=True)
class Views:
    """Two views of ``B`` images, the first views before the second ones.

    Attributes:
        images: ``(2B, C, S, S)`` float32, standardised.
        masked: the same with masked pixels replaced by the view's own mean.
        masks: ``(2B, g, g)`` bool, True where masked.
        matrices: ``(2B, 3, 3)`` float32 from view pixels to source pixels.
    """

    images: Tensor
    masked: Tensor
    masks: Tensor
    matrices: Tensor


class DeviceViews(nn.Module):
    """Colours, standardises and masks the uint8 views that the workers cut.

    Args:
        colours: colour of the weak and of the strong view.
        statistics: mean, deviation and range of the images' bands.
    """

    def __init__(self, colours: ViewColourConfig, statistics: ChannelStatistics) -> None:
        super().__init__()
        self.augmentations = nn.ModuleList(
            ColourAugmentation(parameters) for parameters in (colours.weak, colours.strong)
        )
        self.standardize = Standardize(statistics)
        self.touched = [
            parameters != type(parameters)() for parameters in (colours.weak, colours.strong)
        ]

    @torch.no_grad()
    def forward(self, batch: dict[str, Any]) -> Views:
        """Make the views of a batch of `TwoViews` samples (``views``, ``matrices``, ``masks``)."""
        pair = []
        for number, augment in enumerate(self.augmentations):
            unit = self.standardize.to_unit(batch["views"][:, number])
            # Values beyond the statistics' range are cut off only where colour needs [0, 1].
            unit = augment(unit.clamp(0, 1)) if self.touched[number] else unit
            pair.append(self.standardize.from_unit(unit))
        images = torch.cat(pair)
        masks = batch["masks"].transpose(0, 1).flatten(0, 1)
        return Views(
            images=images,
            masked=fill_masked(images, expand_mask(masks, images.shape[-2:])),
            masks=masks,
            matrices=batch["matrices"].transpose(0, 1).flatten(0, 1),
        )
