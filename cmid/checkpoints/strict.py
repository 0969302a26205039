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
        missing: names of the network that are not among the weights.
        unknown: names of weights that the network does not have.
        misshapen: names that both have, in different shapes.
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


def below(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose names begin with a prefix, which is gone then."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in weights.items()
        if name.startswith(prefix)
    }


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
        weights: tensors of the same names and shapes, any floating-point type, any device.
        refusal: the error's text for weights that do not fit.
        optional: says which of the network's names may be missing; they keep their values.

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
