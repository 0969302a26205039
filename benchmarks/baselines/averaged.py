"""What methods with a moving average of encoder and projection head have in common."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from lightly.models.utils import deactivate_requires_grad, update_momentum
from torch import Tensor

from cmid.methods import PretrainMethod
from cmid.models import MaskedEncoder


class AveragedMethod(PretrainMethod):
    """A student and a teacher that follows it; both see both views, unmasked.

    Args:
        backbone: any timm model with spatial output.
        make_head: a new projection head for the width of the pooled features.
        momentum: momentum of the moving average at the first step; it rises to 1 on a cosine.
        **common: options of every method, see `PretrainMethod`.
    """

    exported = "student"

    def __init__(
        self,
        backbone: str,
        make_head: Callable[[int], Any],
        *,
        momentum: float = 0.99,
        **common: Any,
    ) -> None:
        super().__init__(backbone, **common)
        self.first_momentum = momentum
        self.encoder = self.make_encoder(masked=False)
        self.head = make_head(self.encoder.pooled_dim)
        # Made anew: the weight-normalised layer of DINO's head cannot be copied.
        self.teacher_encoder = copy.deepcopy(self.encoder)
        self.teacher_head = make_head(self.encoder.pooled_dim)
        self.teacher_head.load_state_dict(self.head.state_dict())
        deactivate_requires_grad(self.teacher_encoder)
        deactivate_requires_grad(self.teacher_head)

    def encoders(self) -> dict[str, MaskedEncoder]:
        return {"teacher": self.teacher_encoder, "student": self.encoder}

    def project(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Projections and pooled features ``(2B, D)`` of the student."""
        features = self.encoder.pooled(self.arrange(images))
        return self.head(features), features.detach()

    @torch.no_grad()
    def targets(self, images: Tensor) -> Tensor:
        """Projections ``(2B, D)`` of the teacher."""
        return self.teacher_head(self.teacher_encoder.pooled(self.arrange(images)))

    def update_teacher(self, momentum: float) -> None:
        update_momentum(self.encoder, self.teacher_encoder, m=momentum)
        update_momentum(self.head, self.teacher_head, m=momentum)
