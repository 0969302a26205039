"""Self-distillation over prototypes at matched positions (DINO's loss, cell by cell)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from cmid.precision import full_precision
from cmid.processes import mean_over_processes


def teacher_temperature(
    epoch: int, *, first: float = 0.04, last: float = 0.07, warmup_epochs: int = 50
) -> float:
    """Temperature of the teacher's softmax: linear from ``first`` to ``last``, then constant.

    The ramp has ``warmup_epochs`` points, its last one at ``epoch = warmup_epochs - 1``.
    """
    if epoch >= warmup_epochs:
        return last
    return float(np.linspace(first, last, warmup_epochs)[epoch])


class LocalDistillationLoss(nn.Module):
    r"""Cross-entropy between the teacher's and the student's distribution over prototypes.

    .. math:: L = -\sum_k \mathrm{softmax}_k((t - c) / T_t) \log \mathrm{softmax}_k(s / T_s)

    averaged over cells and batch. The centre :math:`c` (which keeps one prototype from winning
    everywhere) is the running mean of the teacher's outputs over batch, cells and processes. It
    moves *after* the loss is computed, and only in training mode.

    Args:
        num_prototypes: length ``P`` of the distributions.
        student_temperature: :math:`T_s`.
        center_momentum: share of the old centre that stays at each call.

    Attributes:
        center: ``(1, P, 1)``.
        used: number of prototypes that the teacher used for the last batch, the exponential of the
            entropy of its mean distribution, from 1 (collapse) to P.
    """

    center: Tensor

    def __init__(
        self,
        num_prototypes: int,
        *,
        student_temperature: float = 0.1,
        center_momentum: float = 0.9,
    ) -> None:
        super().__init__()
        self.student_temperature = student_temperature
        self.center_momentum = center_momentum
        self.register_buffer("center", torch.zeros(1, num_prototypes, 1))
        self.used: Tensor | None = None

    def forward(self, student: Tensor, teacher: Tensor, teacher_temperature: float) -> Tensor:
        """Compute the loss, then move the centre.

        Args:
            student: ``(B, P, cells)`` logits.
            teacher: ``(B, P, cells)`` logits of the matched cells; carries no gradient.
            teacher_temperature: :math:`T_t`.

        Returns:
            Scalar, float32.
        """
        with full_precision(student):
            teacher = teacher.detach().float()
            # Prototypes last: so they lie in memory as the head gives them.
            student = student.float().transpose(1, 2)  # (B, cells, P)
            sharpened = (teacher - self.center).transpose(1, 2) / teacher_temperature
            log_prediction = torch.log_softmax(student / self.student_temperature, dim=-1)
            target = torch.softmax(sharpened, dim=-1)
            loss = -(target * log_prediction).sum(dim=-1).mean()
            if self.training:
                self.update_center(teacher)
                self.used = torch.special.entr(target.mean(dim=(0, 1))).sum().exp()
        return loss

    @torch.no_grad()
    def update_center(self, teacher: Tensor) -> None:
        """Move the centre towards the mean of ``(B, P, cells)`` over all processes."""
        mean = mean_over_processes(teacher.mean(dim=(0, 2), keepdim=True))  # (1, P, 1)
        self.center.mul_(self.center_momentum).add_(mean, alpha=1 - self.center_momentum)
