"""SimCLR, MoCo-v2, BYOL and DINO on the encoder, the views and the optimizer that CMID has.

Losses and heads are those of ``lightly`` (MIT). A method sees the two views of CMID, unmasked; what
it adds are a projection head, a loss and, but for SimCLR, a moving average.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import lightning as L
import torch
from lightly.loss import DINOLoss, NegativeCosineSimilarity, NTXentLoss
from lightly.models.modules import (
    BYOLPredictionHead,
    BYOLProjectionHead,
    DINOProjectionHead,
    MoCoProjectionHead,
    SimCLRProjectionHead,
)
from lightly.models.utils import deactivate_requires_grad, update_momentum
from torch import Tensor, nn

from cmid.memory import keep_freed_memory
from cmid.models import MaskedEncoder
from cmid.models.batch_norm import set_running_momentum
from cmid.optimization import OptimizerParameters, configure_training, teacher_momentum
from cmid.views import DeviceViews

Pair = tuple[Tensor, Tensor]

# PyTorch's default. CMID keeps the running statistics of its student still and sets them itself.
RUNNING_MOMENTUM = 0.1


class SimCLR(nn.Module):
    """Normalised temperature-scaled cross-entropy in the batch (arXiv:2002.05709)."""

    def __init__(self, encoder: MaskedEncoder, *, temperature: float) -> None:
        super().__init__()
        width = encoder.pooled_dim
        self.encoder = encoder
        self.head = SimCLRProjectionHead(width, width, 128)
        self.loss = NTXentLoss(temperature=temperature)

    def forward(self, views: Pair, epoch: int) -> Tensor:
        first, second = self.head(self.encoder.pooled(torch.cat(views))).chunk(2)
        return self.loss(first, second)

    def update(self, momentum: float) -> None:
        """Nothing to average."""


class _WithTeacher(nn.Module):
    """Base of the methods with a moving average of encoder and projection head."""

    def __init__(self, encoder: MaskedEncoder, make_head: Callable[[], Any]) -> None:
        super().__init__()
        self.encoder, self.head = encoder, make_head()
        # Made anew: the weight-normalised layer of DINO's head cannot be copied.
        self.teacher_encoder, self.teacher_head = copy.deepcopy(encoder), make_head()
        self.teacher_head.load_state_dict(self.head.state_dict())
        deactivate_requires_grad(self.teacher_encoder)
        deactivate_requires_grad(self.teacher_head)

    def project(self, views: Pair) -> Tensor:
        return self.head(self.encoder.pooled(torch.cat(views)))

    @torch.no_grad()
    def targets(self, views: Pair) -> Tensor:
        return self.teacher_head(self.teacher_encoder.pooled(torch.cat(views)))

    def update(self, momentum: float) -> None:
        update_momentum(self.encoder, self.teacher_encoder, m=momentum)
        update_momentum(self.head, self.teacher_head, m=momentum)


class MoCoV2(_WithTeacher):
    """InfoNCE against a queue of keys (arXiv:2003.04297), symmetric."""

    def __init__(self, encoder: MaskedEncoder, *, temperature: float, queue_size: int) -> None:
        width = encoder.pooled_dim
        super().__init__(encoder, lambda: MoCoProjectionHead(width, width, 128))
        self.loss = NTXentLoss(temperature=temperature, memory_bank_size=(queue_size, 128))

    def forward(self, views: Pair, epoch: int) -> Tensor:
        first, second = self.project(views).chunk(2)
        key_first, key_second = self.targets(views).chunk(2)
        return (self.loss(first, key_second) + self.loss(second, key_first)) / 2


class BYOL(_WithTeacher):
    """Prediction of the teacher's projection, no negatives (arXiv:2006.07733)."""

    def __init__(self, encoder: MaskedEncoder) -> None:
        super().__init__(encoder, lambda: BYOLProjectionHead(encoder.pooled_dim, 1024, 256))
        self.predictor = BYOLPredictionHead(256, 1024, 256)
        self.loss = NegativeCosineSimilarity()

    def forward(self, views: Pair, epoch: int) -> Tensor:
        first, second = self.predictor(self.project(views)).chunk(2)
        target_first, target_second = self.targets(views).chunk(2)
        return (self.loss(first, target_second) + self.loss(second, target_first)) / 2


class DINO(_WithTeacher):
    """Self-distillation over prototypes (arXiv:2104.14294), two global views, no small crops."""

    def __init__(self, encoder: MaskedEncoder, *, prototypes: int) -> None:
        super().__init__(
            encoder,
            lambda: DINOProjectionHead(
                encoder.pooled_dim, 1024, 256, prototypes, batch_norm=True, freeze_last_layer=1
            ),
        )
        self.loss = DINOLoss(prototypes, teacher_temp=0.04, warmup_teacher_temp_epochs=1)

    def forward(self, views: Pair, epoch: int) -> Tensor:
        students = list(self.project(views).chunk(2))
        return self.loss(list(self.targets(views).chunk(2)), students, epoch=epoch)

    def after_backward(self, epoch: int) -> None:
        """Keep the prototypes still during the first epoch, as published."""
        self.head.cancel_last_layer_gradients(epoch)


class Rival(L.LightningModule):
    """Train one of the methods.

    Args:
        method: which one.
        encoder: to train.
        views: colour and standardisation of the two views.
        temperature: of SimCLR and MoCo-v2; queue_size: of MoCo-v2; prototypes: of DINO.
        momentum: of the moving average at the first step; it rises to 1 on a cosine.
        optimizer: optimizer and learning-rate schedule.
        memory_format: of the images.
    """

    def __init__(
        self,
        method: str,
        *,
        encoder: MaskedEncoder,
        views: DeviceViews,
        temperature: float = 0.1,
        queue_size: int = 2048,
        prototypes: int = 512,
        momentum: float = 0.99,
        optimizer: OptimizerParameters = OptimizerParameters(),
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        super().__init__()
        set_running_momentum(encoder, RUNNING_MOMENTUM)
        build: dict[str, Callable[[], nn.Module]] = {
            "simclr": lambda: SimCLR(encoder, temperature=temperature),
            "mocov2": lambda: MoCoV2(encoder, temperature=temperature, queue_size=queue_size),
            "byol": lambda: BYOL(encoder),
            "dino": lambda: DINO(encoder, prototypes=prototypes),
        }
        self.name = method
        self.method: Any = build[method]()
        self.views = views
        self.momentum = momentum
        self.optimizer_parameters = optimizer
        self.memory_format = memory_format
        self.to(memory_format=memory_format)

    def on_fit_start(self) -> None:
        if self.device.type == "cpu":
            keep_freed_memory()

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        with torch.autocast(self.device.type, enabled=False):
            images = self.views(batch).images.contiguous(memory_format=self.memory_format)
        first, second = images.chunk(2)
        loss = self.method((first, second), self.current_epoch)
        self.log("loss", loss.detach(), prog_bar=True)
        return loss

    def on_after_backward(self) -> None:
        if isinstance(self.method, DINO):
            self.method.after_backward(self.current_epoch)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        momentum = teacher_momentum(self, self.momentum)
        super().optimizer_step(*args, **kwargs)
        self.method.update(momentum)

    def configure_optimizers(self) -> Any:
        return configure_training(self, self.optimizer_parameters)

    def provenance(self) -> dict[str, Any]:
        """What an export says about the method."""
        return {
            "method": self.name,
            "global_step": int(self.global_step),
            "optimizer": asdict(self.optimizer_parameters),
        }
