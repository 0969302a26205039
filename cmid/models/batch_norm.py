"""The pace of BatchNorm's running statistics."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def set_running_momentum(module: nn.Module, momentum: float | None) -> list[float | None]:
    """Set the momentum of all BatchNorm layers of ``module``.

    Args:
        momentum: share of the batch in the new running statistics; 0 leaves them as they are, 1
            takes the batch's, ``None`` is PyTorch's cumulative average.

    Returns:
        What each layer had before; empty where there is no BatchNorm.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    previous = [layer.momentum for layer in layers]
    for layer in layers:
        # PyTorch's annotation omits None, which its documentation gives a meaning.
        layer.momentum = momentum
    return previous
