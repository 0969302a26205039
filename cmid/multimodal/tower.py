"""Image towers: a timm model that is read at several depths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import timm
import torch
from torch import Tensor, nn

from cmid.checkpoints import identify
from cmid.data.statistics import ChannelStatistics
from cmid.models.intermediates import intermediate_maps, levels, stages
from cmid.multimodal.perceiver import Grid
from cmid.views.colour import Standardize


@dataclass(frozen=True)
class TowerConfig:
    """Where an image tower comes from.

    Attributes:
        backbone: an exported folder, here or ``hf-hub:OWNER/NAME``, a checkpoint, a file of
            published weights, ``random:NAME``, or a timm name for the weights that timm downloads
            (CLIP and SigLIP among them).
        levels: blocks or stages that are read, from 0, ascending; None takes ``count``.
        count: how many levels, spread over the network's depth.
        size: pixels per side; None takes those that the weights were trained with.
        in_chans: bands of timm models.
        seed: random seed of untrained weights.
        model_args: further arguments of ``timm.create_model``.
    """

    backbone: str = "random:resnet18"
    levels: tuple[int, ...] | None = None
    count: int = 3
    size: int | None = None
    in_chans: int = 3
    seed: int = 0
    model_args: Mapping[str, Any] = field(default_factory=dict)


class TowerLevel(NamedTuple):
    """Cells ``(B, rows * columns, width)``, row by row, and rows and columns."""

    tokens: Tensor
    grid: Grid


class LevelTower(nn.Module):
    """Features of several depths, without the network's last norm and extra tokens.

    Args:
        network: a timm model; what lies beyond the deepest level is taken off it.
        architecture, model_args: how timm builds it again.
        statistics: range, mean and deviation of the bands.
        size: pixels per side of images.
        chosen: levels to read, from 0, ascending.

    Raises:
        ValueError: the network has no such levels.
    """

    def __init__(
        self,
        network: Any,
        *,
        architecture: str,
        model_args: Mapping[str, Any],
        statistics: ChannelStatistics,
        size: int,
        chosen: Sequence[int],
    ) -> None:
        super().__init__()
        known = levels(network)
        if not chosen or list(chosen) != sorted({*chosen}) or not 0 <= chosen[-1] < len(known):
            raise ValueError(
                f"tower.levels {list(chosen)}: {architecture} has levels 0 to {len(known) - 1},"
                " name some of them in ascending order"
            )
        network.prune_intermediate_layers([*chosen], prune_norm=False, prune_head=False)
        self.network = network
        self.architecture, self.model_args = architecture, dict(model_args)
        self.statistics, self.size = statistics, size
        self.standardize = Standardize(statistics)
        self.levels = tuple(known[index] for index in chosen)

    @property
    def bands(self) -> int:
        """Bands of images."""
        return len(self.statistics.mean)

    @property
    def widths(self) -> tuple[int, ...]:
        """Features of each level."""
        return tuple(level.width for level in self.levels)

    def forward(self, images: Tensor) -> list[TowerLevel]:
        """Read ``(B, C, H, W)`` images, values as stored."""
        with torch.autocast(images.device.type, enabled=False):
            images = self.standardize(images)
        maps = intermediate_maps(self.network, images, self.levels)
        return [
            TowerLevel(each.flatten(2).transpose(1, 2), (each.shape[2], each.shape[3]))
            for each in maps
        ]

    def to_plain(self) -> dict[str, Any]:
        """All but the weights, as plain values."""
        return {
            "architecture": self.architecture,
            "model_args": self.model_args,
            "statistics": self.statistics.to_plain(),
            "size": self.size,
            "levels": [level.index for level in self.levels],
        }

    @classmethod
    def from_plain(cls, about: Mapping[str, Any]) -> LevelTower:
        """The tower that `to_plain` told of, its weights still to be read."""
        return cls(
            timm.create_model(about["architecture"], **about["model_args"]),
            architecture=about["architecture"],
            model_args=about["model_args"],
            statistics=ChannelStatistics.from_mapping(about["statistics"]),
            size=about["size"],
            chosen=about["levels"],
        )


def build_tower(config: TowerConfig) -> LevelTower:
    """An image tower with its weights.

    Raises:
        FileNotFoundError, ValueError: as `cmid.checkpoints.identify`; also levels that the network
            does not have.
    """
    stored = identify(
        config.backbone, img_size=config.size, in_chans=config.in_chans, seed=config.seed
    )
    encoder = stored.build(**config.model_args)
    chosen = config.levels
    if chosen is None:
        chosen = tuple(level.index for level in stages(encoder.backbone, config.count))
    return LevelTower(
        encoder.backbone,
        architecture=encoder.name,
        model_args=encoder.model_args,
        statistics=stored.statistics,
        size=config.size or encoder.img_size,
        chosen=chosen,
    )
