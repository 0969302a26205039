"""How strongly each loss pulls at an encoder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn


def gradient_norms(
    terms: Mapping[str, Tensor], weights: Mapping[str, float], modules: Iterable[nn.Module]
) -> dict[str, Tensor]:
    """Norm of the gradient of each weighted term with respect to all trained parameters.

    The graph stays, and so do the gradients that parameters have.

    Args:
        terms: scalars with their graph, by name; what has none is left out.
        weights: of terms; one that is not named counts once.
        modules: whose parameters count.
    """
    trained = {p for module in modules for p in module.parameters() if p.requires_grad}
    parameters = [*trained]
    norms = {}
    for name, term in terms.items():
        if not term.requires_grad:
            continue
        weighted = weights.get(name, 1.0) * term
        gradients = torch.autograd.grad(weighted, parameters, retain_graph=True, allow_unused=True)
        squares = [each.float().square().sum() for each in gradients if each is not None]
        norms[name] = torch.stack(squares).sum().sqrt() if squares else term.new_zeros(())
    return norms
