"""The number that a training step minimises: a weighted, finite sum of its losses."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def weighted_sum(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Sum of the scalar ``terms``, each times its weight; a term without a weight counts once."""
    return torch.stack([weights.get(name, 1.0) * term for name, term in terms.items()]).sum()


def require_finite(total: Tensor, terms: Mapping[str, Tensor], *, step: int) -> None:
    """Stop a run whose loss is no longer a number.

    Raises:
        FloatingPointError: names the step and every term.
    """
    if not torch.isfinite(total):
        found = ", ".join(f"{name} {float(term.detach()):.3g}" for name, term in terms.items())
        raise FloatingPointError(
            f"loss is {float(total.detach())} at step {step} ({found}):"
            " lower model.optimizer.base_lr or use trainer.precision=32-true"
        )
