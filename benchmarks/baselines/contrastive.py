"""SimCLR and MoCo-v2: the other view of an image against other images."""

from __future__ import annotations

from typing import Any

import torch
from lightly.loss import NTXentLoss
from lightly.models.modules import MoCoProjectionHead, SimCLRProjectionHead

from benchmarks.baselines.averaged import AveragedMethod
from cmid.methods import PretrainMethod
from cmid.methods.base import Losses
from cmid.models import MaskedEncoder
from cmid.views import Views


class SimCLR(PretrainMethod):
    """Normalised temperature-scaled cross-entropy in the batch (arXiv:2002.05709).

    Negatives are the images of all processes.

    Args:
        backbone: any timm model with spatial output.
        temperature: softmax temperature.
        **common: options of every method, see `PretrainMethod`.
    """

    def __init__(
        self, backbone: str = "resnet50", *, temperature: float = 0.1, **common: Any
    ) -> None:
        super().__init__(backbone, **common)
        self.encoder = self.make_encoder(masked=False)
        width = self.encoder.pooled_dim
        self.head = SimCLRProjectionHead(width, width, 128)
        self.loss = NTXentLoss(temperature=temperature, gather_distributed=True)

    def encoders(self) -> dict[str, MaskedEncoder]:
        return {"encoder": self.encoder}

    def losses(self, views: Views) -> Losses:
        features = self.encoder.pooled(self.arrange(views.images))  # (2B, D)
        first, second = self.head(features).chunk(2)
        return {"contrastive": self.loss(first, second)}, features.detach()


class MoCoV2(AveragedMethod):
    """InfoNCE against a queue of the teacher's past keys (arXiv:2003.04297), symmetric.

    Of the paper's, the default temperature is another one (0.2 there), and keys do not shuffle
    BatchNorm between devices.

    Args:
        backbone: any timm model with spatial output.
        temperature: softmax temperature.
        queue_size: keys in the queue.
        **common: ``momentum``, see `AveragedMethod`, and options of every method.
    """

    def __init__(
        self,
        backbone: str = "resnet50",
        *,
        temperature: float = 0.1,
        queue_size: int = 2048,
        **common: Any,
    ) -> None:
        super().__init__(backbone, lambda width: MoCoProjectionHead(width, width, 128), **common)
        self.loss = NTXentLoss(
            temperature=temperature, memory_bank_size=(queue_size, 128), gather_distributed=True
        )
        # Kept in checkpoints, which lightly leaves out: a resumed run has the same negatives.
        bank = self.loss.memory_bank
        for name, tensor in list(bank.named_buffers()):
            bank.register_buffer(name, tensor)

    def losses(self, views: Views) -> Losses:
        queries, features = self.project(views.images)
        # Both directions in one call: the second would meet the keys that the first left in the
        # queue, the teacher's of its own views, as negatives.
        first, second = self.targets(views.images).chunk(2)
        return {"contrastive": self.loss(queries, torch.cat([second, first]))}, features
