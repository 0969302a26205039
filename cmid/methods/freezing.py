"""Which parameters of an encoder a loss reaches."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cmid.models import MaskedEncoder
from cmid.models.evaluating import evaluating


def parameters_behind(output: Tensor) -> set[nn.Parameter]:
    """Parameters that the gradient of ``output`` would reach, from the graph of autograd."""
    found: set[nn.Parameter] = set()
    seen: set[Any] = set()
    waiting: list[Any] = [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(leaf := getattr(node, "variable", None), nn.Parameter):
            found.add(leaf)
        waiting += [following for following, _ in node.next_functions]
    return found


def freeze_unused(
    encoder: MaskedEncoder, *, masked: bool = True, pooled: bool
) -> list[nn.Parameter]:
    """Freeze what the dense output does not come from; returns those parameters.

    Distributed training waits for the gradient of every parameter that requires one.

    Args:
        masked: the mask token is trained, too.
        pooled: the pooled output is trained, too.
    """
    size = encoder.img_size
    image = torch.zeros(1, encoder.in_chans, size, size, device=encoder.mask_token.device)
    # BatchNorm refuses one cell, and its statistics stay.
    with torch.enable_grad(), evaluating(encoder):
        output = encoder(image)
        used = parameters_behind(output) | ({encoder.mask_token} if masked else set())
        if pooled:
            used |= parameters_behind(encoder.pool(output))
    unused = [p for p in encoder.parameters() if p.requires_grad and p not in used]
    for parameter in unused:
        parameter.requires_grad_(False)
    return unused
