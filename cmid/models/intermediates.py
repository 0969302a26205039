"""Feature maps of several depths of a timm model, by ``forward_intermediates``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Level:
    """A feature map that a network can return.

    Attributes:
        index: place among all of them, as ``forward_intermediates`` counts.
        width: features per cell.
        stride: pixels per cell.
    """

    index: int
    width: int
    stride: int


def levels(network: Any) -> tuple[Level, ...]:
    """All feature maps that a timm model can return, first to last.

    No number of the network is looked at: it may lie on the meta device.

    Raises:
        ValueError: the model does not say, or cannot return them.
    """
    known = getattr(network, "feature_info", None)
    if not known or not hasattr(network, "forward_intermediates"):
        raise ValueError(
            f"{type(network).__name__} has no forward_intermediates in timm, which features of"
            " several depths need: take another architecture"
        )
    return tuple(
        Level(index, int(info["num_chs"]), int(info["reduction"]))
        for index, info in enumerate(known)
    )


def is_plain(network: Any) -> bool:
    """Whether all feature maps have one stride, as those of a plain transformer."""
    return len({level.stride for level in levels(network)}) == 1


def stages(network: Any, count: int = 4) -> tuple[Level, ...]:
    """The last level of each of ``count`` stages.

    A hierarchical network has stages of its own, of which the last ``count`` are taken (ResNet's
    stem is a level before them). A plain one is cut into equal shares of its blocks.

    Raises:
        ValueError: as `levels`; also fewer levels than stages.
    """
    found = levels(network)
    if len(found) < count:
        raise ValueError(f"{type(network).__name__} has {len(found)} levels, fewer than {count}")
    if is_plain(network):
        return tuple(found[len(found) * (i + 1) // count - 1] for i in range(count))
    return found[-count:]


def one_of_each_stride(network: Any, *, finest: int = 4) -> tuple[Level, ...]:
    """The last level of each stride from ``finest`` on; of a plain network four `stages`."""
    of_stride = {level.stride: level for level in levels(network) if level.stride >= finest}
    return tuple(of_stride.values()) if len(of_stride) > 1 else stages(network)


def intermediate_maps(network: Any, images: Tensor, chosen: Sequence[Level]) -> list[Tensor]:
    """Feature maps of images, without the network's final norm.

    Args:
        images: ``(B, C, H, W)`` standardised.
        chosen: some of `levels`, ascending.

    Returns:
        Of each level ``(B, width, H / stride, W / stride)``.
    """
    indices = [level.index for level in chosen]
    return network.forward_intermediates(
        images, indices=indices, intermediates_only=True, output_fmt="NCHW"
    )
