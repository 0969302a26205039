"""BYOL and DINO: what the teacher says of the other view, without negatives."""

from __future__ import annotations

from typing import Any

from lightly.loss import DINOLoss, NegativeCosineSimilarity
from lightly.models.modules import BYOLPredictionHead, BYOLProjectionHead, DINOProjectionHead

from benchmarks.baselines.averaged import AveragedMethod
from cmid.methods.base import Losses
from cmid.views import Views


class BYOL(AveragedMethod):
    """Prediction of the teacher's projection (arXiv:2006.07733).

    Args:
        backbone: any timm model with spatial output.
        **common: ``momentum``, see `AveragedMethod`, and options of every method.
    """

    def __init__(self, backbone: str = "resnet50", **common: Any) -> None:
        super().__init__(backbone, lambda width: BYOLProjectionHead(width, 1024, 256), **common)
        self.predictor = BYOLPredictionHead(256, 1024, 256)
        self.loss = NegativeCosineSimilarity()

    def losses(self, views: Views) -> Losses:
        projections, features = self.project(views.images)
        first, second = self.predictor(projections).chunk(2)
        target_first, target_second = self.targets(views.images).chunk(2)
        loss = (self.loss(first, target_second) + self.loss(second, target_first)) / 2
        return {"prediction": loss}, features


class DINO(AveragedMethod):
    """Self-distillation over prototypes (arXiv:2104.14294), two global views, no small crops.

    Args:
        backbone: any timm model with spatial output.
        num_prototypes: length of the distributions.
        **common: ``momentum``, see `AveragedMethod`, and options of every method.
    """

    def __init__(
        self, backbone: str = "resnet50", *, num_prototypes: int = 512, **common: Any
    ) -> None:
        super().__init__(
            backbone,
            lambda width: DINOProjectionHead(
                width, 1024, 256, num_prototypes, batch_norm=True, freeze_last_layer=1
            ),
            **common,
        )
        self.loss = DINOLoss(num_prototypes, teacher_temp=0.04, warmup_teacher_temp_epochs=1)

    def losses(self, views: Views) -> Losses:
        projections, features = self.project(views.images)
        students, teachers = projections.chunk(2), self.targets(views.images).chunk(2)
        loss = self.loss(list(teachers), list(students), epoch=self.current_epoch)
        return {"distillation": loss}, features

    def on_after_backward(self) -> None:
        """Keep the prototypes still during the first epoch, as published."""
        self.head.cancel_last_layer_gradients(self.current_epoch)
