"""Losses are computed in float32 even where the network runs under autocast."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor


def full_precision(tensor: Tensor) -> AbstractContextManager[None]:
    """Context in which autocast is off on the device of ``tensor``.

    Casting the inputs with ``.float()`` is not enough: autocast would cast the operands of a
    matrix product back to 16 bits.
    """
    return torch.autocast(tensor.device.type, enabled=False)
