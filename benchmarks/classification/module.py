"""Fine-tuning of a backbone for scene classification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch.nn.functional as F
from timm.data import Mixup
from timm.data.random_erasing import RandomErasing
from timm.loss import SoftTargetCrossEntropy
from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
)

from benchmarks.classification.data import ClassificationData
from cmid.checkpoints import load_backbone
from cmid.optimization import OptimizerConfig, configure_training


@dataclass(frozen=True)
class RegularisationConfig:
    """The published fine-tuning recipe's.

    Attributes:
        mixup, cutmix: parameters of their beta distributions; 0 switches one off.
        smoothing: label smoothing.
        erasing: probability of random erasing (of pixels that mixup gets).
        drop_path: stochastic depth of the backbone.
    """

    mixup: float = 0.8
    cutmix: float = 1.0
    smoothing: float = 0.1
    erasing: float = 0.25
    drop_path: float = 0.0


class FineTuning(L.LightningModule):
    """A backbone with timm's own classifier, trained as a whole or on frozen features.

    Args:
        backbone: what `cmid.checkpoints.load_backbone` loads.
        classes: their names (the command takes them from the data).
        img_size: pixels per side (likewise); in_chans: bands (likewise).
        frozen: train the classifier alone, with the backbone in evaluation mode.
        grad_checkpointing: recompute activations in the backward pass to save memory.
        layer_decay: factor of the learning rate per layer from the classifier down; None for CNNs.
        regularisation: regularisation of the targets, the images and the backbone.
        optimizer: optimizer and learning-rate schedule; the published 3.125e-3 at a batch of 16 is
            a base_lr of 0.05.
    """

    def __init__(
        self,
        backbone: str,
        *,
        classes: Sequence[str],
        img_size: int = 224,
        in_chans: int = 3,
        frozen: bool = False,
        grad_checkpointing: bool = False,
        layer_decay: float | None = None,
        regularisation: RegularisationConfig = RegularisationConfig(),
        optimizer: OptimizerConfig = OptimizerConfig(base_lr=0.05, warmup_epochs=5),
    ) -> None:
        super().__init__()
        more: dict[str, Any] = {}
        if regularisation.drop_path:
            more["drop_path_rate"] = regularisation.drop_path
        loaded = load_backbone(backbone, img_size=img_size, in_chans=in_chans, **more)
        if loaded.encoder.in_chans != in_chans:
            raise ValueError(
                f"{backbone} reads {loaded.encoder.in_chans} bands, the images have {in_chans}"
            )
        if grad_checkpointing:
            loaded.encoder.set_grad_checkpointing()
        self.standardize = loaded.standardize
        self.network: Any = loaded.encoder.backbone.requires_grad_(not frozen)
        self.network.reset_classifier(len(classes))
        self.network.get_classifier().requires_grad_(True)
        self.classes = tuple(classes)
        self.frozen = frozen
        self.layer_decay = layer_decay
        self.optimizer_parameters = optimizer
        self.regularisation = r = regularisation
        self.mix = None
        if r.mixup or r.cutmix:
            self.mix = Mixup(
                r.mixup, r.cutmix, label_smoothing=r.smoothing, num_classes=len(classes)
            )
        self.soft_loss = SoftTargetCrossEntropy()
        self.scores = MetricCollection(
            {
                "accuracy": MulticlassAccuracy(len(classes), average="micro"),
                "macro_f1": MulticlassF1Score(len(classes), average="macro"),
                "confusion": MulticlassConfusionMatrix(len(classes)),
            }
        )

    def forward(self, images: Tensor) -> Tensor:
        """``(B, C, H, W)`` stored values to ``(B, K)`` logits."""
        return self.network(self.standardize(images))

    def setup(self, stage: str) -> None:
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, ClassificationData):
            data.check_images(self.standardize.statistics)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        if self.frozen:
            self.network.eval()
        inputs = self.standardize(images)
        if share := self.regularisation.erasing:
            inputs = RandomErasing(share, mode="pixel", device=str(self.device))(inputs)
        if self.mix is not None and len(inputs) % 2 == 0:
            inputs, targets = self.mix(inputs, labels)
            loss = self.soft_loss(self.network(inputs), targets)
        else:
            smoothing = self.regularisation.smoothing
            loss = F.cross_entropy(self.network(inputs), labels, label_smoothing=smoothing)
        self.log("loss", loss.detach(), prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.scores.update(self(batch[0]), batch[1])

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        scores = self.scores.compute()
        self.scores.reset()
        self.log("val/accuracy", scores["accuracy"], prog_bar=True)
        self.log("val/macro_f1", scores["macro_f1"])

    def on_test_epoch_end(self) -> None:
        """Keep what the command writes."""
        self.result = {k: v.cpu() for k, v in self.scores.compute().items()}
        self.scores.reset()
        self.log("test/accuracy", self.result["accuracy"])

    def configure_optimizers(self) -> Any:
        return configure_training(
            self,
            self.optimizer_parameters,
            trained=self.network,
            layer_decay=None if self.frozen else self.layer_decay,
        )
