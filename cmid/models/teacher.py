"""The teacher: an exponential moving average (EMA) of the student."""

from __future__ import annotations

import math
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def ema_momentum(step: int, total_steps: int, base: float = 0.996) -> float:
    r"""Momentum of the teacher at an optimizer step, from ``base`` to 1 on a cosine.

    .. math:: \tau(t) = 1 - (1 - \tau_0) (\cos(\pi t / T) + 1) / 2

    (BYOL, arXiv:2006.07733). Steps past ``total_steps`` stay at 1: the cosine would come back.

    Raises:
        ValueError: ``total_steps`` is not positive.

    Example:
        >>> ema_momentum(0, 1000)
        0.996
    """
    if total_steps < 1:
        raise ValueError(f"total_steps must be positive, got {total_steps}")
    progress = min(step / total_steps, 1.0)
    return 1 - (1 - base) * (math.cos(math.pi * progress) + 1) / 2


class EMATeacher(nn.Module):
    """A copy of the student that follows it slowly and never receives a gradient.

    BatchNorm: the teacher keeps the mode of training, and so normalises with the statistics of its
    own batch. Its running statistics are those of its own forward passes; they are neither averaged
    nor copied. An average of the student's would describe other features, above all early on, when
    the weights of the two differ most. ``teacher.eval()`` uses them.

    Dropout and drop path would act in the teacher as in the student; CMID trains without, unless
    a rate is asked for (`cmid.models.stochastic`).

    Args:
        student: module to copy; parameters, buffers and modules must not change shape later.

    Attributes:
        module: the averaged copy. Call it (under ``torch.no_grad()``, or through ``forward``).
    """

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.module = deepcopy(student).requires_grad_(False)
        self._own = {
            f"{path}.{name}".removeprefix(".")
            for path, layer in self.module.named_modules()
            if isinstance(layer, _BatchNorm)
            for name, _ in layer.named_buffers(recurse=False)
        }

    @torch.no_grad()
    def update(self, student: nn.Module, momentum: float) -> None:
        """Move the teacher: ``teacher <- momentum * teacher + (1 - momentum) * student``.

        Parameters and floating buffers are averaged, in the teacher's dtype; integer and boolean
        buffers (index tables) are copied; BatchNorm's buffers stay the teacher's own.

        Args:
            student: the module given at construction, after its optimizer step.
            momentum: see :func:`ema_momentum`.

        Raises:
            ValueError: ``student`` has other parameters or buffers than the teacher.
        """
        source = _tensors(student)
        target = _tensors(self.module)
        if source.keys() != target.keys():
            odd = sorted(source.keys() ^ target.keys())
            raise ValueError(f"student and teacher differ, first in: {', '.join(odd[:5])}")
        for name in self._own:
            del target[name]
        averaged = [name for name, tensor in target.items() if tensor.is_floating_point()]
        teacher = [target.pop(name) for name in averaged]
        # lerp wants one dtype; .to is free where it is the same already.
        followed = [source[name].to(t.dtype) for name, t in zip(averaged, teacher, strict=True)]
        if teacher:
            torch._foreach_lerp_(teacher, followed, 1 - momentum)
        for name, tensor in target.items():
            tensor.copy_(source[name])


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return dict(module.named_parameters()) | dict(module.named_buffers())
