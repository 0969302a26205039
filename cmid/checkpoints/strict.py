"""Weights find their places in a network, all of them, or none is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Misfit:
    """Why weights are not those of a network: names of weights.

    Attributes:
        missing: of the network, and not among the weights.
        unknown: among the weights, and not of the network.
        misshapen: of both, in different shapes.
    """

    missing: list[str]
    unknown: list[str]
    misshapen: list[str]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unknown or self.misshapen)

    def __str__(self) -> str:
        faults = {
            "missing": self.missing,
            "unknown": self.unknown,
            "of another shape": self.misshapen,
        }
        return "; ".join(
            f"{len(names)} weights {fault}, first {', '.join(names[:5])}"
            for fault, names in faults.items()
            if names
        )


def load_strictly(
    own: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    *,
    refusal: Callable[[Misfit], str],
    optional: Callable[[str], bool] = lambda name: False,
) -> None:
    """Copy weights into the tensors of a network.

    Args:
        own: the network's ``state_dict()``, by the names that the weights have.
        weights: of the same names and shapes, of any floating-point type, on any device.
        refusal: the error's text for weights that do not fit.
        optional: of the network's names those that may be missing; they keep their values.

    Raises:
        ValueError: a weight is missing, unknown or of another shape; nothing was copied.
    """
    misfit = Misfit(
        missing=[name for name in own if name not in weights and not optional(name)],
        unknown=[name for name in weights if name not in own],
        misshapen=[n for n, w in weights.items() if n in own and w.shape != own[n].shape],
    )
    if misfit:
        raise ValueError(refusal(misfit))
    with torch.no_grad():
        for name, tensor in weights.items():
            own[name].copy_(tensor)
