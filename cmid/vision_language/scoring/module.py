"""A scorer that learns from preferences, as a LightningModule; each stage is a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

import cmid
from cmid.objective import require_finite
from cmid.optimization import OptimizerConfig, configure_training, seed_step
from cmid.vision_language.scoring.config import (
    LowRankConfig,
    Part,
    PreferenceLossConfig,
    RateConfig,
    ScorerConfig,
)
from cmid.vision_language.scoring.objective import preference_loss
from cmid.vision_language.scoring.starting import choose_trained, starting_scorer


class ScorerTraining(L.LightningModule):
    """A scorer on a CLIP or on a language model, trained by preferences (arXiv:2503.00743).

    The loss is the mean over images of the mean over their preferences, so that processes of equal
    batches, averaged, are one process with all of them. Scores are trained as they are used, raw.

    Args:
        start: where the scorer comes from.
        trained: parts to train; the others stay as they are, and in evaluation mode.
        lora: train adapters of the towers rather than the towers.
        loss: how scores are compared.
        rates: learning rates of the parts.
        optimizer: optimizer and schedule.
        grad_checkpointing: recompute activations in the backward pass to save memory.
        seed: random seed of a new head, and of what is drawn on the device (dropout).
    """

    def __init__(
        self,
        start: ScorerConfig,
        *,
        trained: Sequence[Part] = ("head", "vision", "language"),
        lora: LowRankConfig = LowRankConfig(),
        loss: PreferenceLossConfig = PreferenceLossConfig(),
        rates: RateConfig = RateConfig(),
        optimizer: OptimizerConfig = OptimizerConfig(
            name="adamw",
            base_lr=1e-3,
            weight_decay=0.1,
            betas=(0.9, 0.95),
            eps=1e-6,
            warmup_epochs=0.1,
            min_lr=0.0,
        ),
        grad_checkpointing: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.start, self.trained, self.loss = start, tuple(trained), loss
        self.rates, self.optimizer_parameters, self.seed = rates, optimizer, seed
        torch.manual_seed(seed)
        self.scorer = starting_scorer(start)
        self.chosen = choose_trained(self.scorer, self.trained, lora)
        towers = self.scorer.towers()
        self.resting = [m for name, ms in towers.items() if name not in trained for m in ms]
        if grad_checkpointing:
            self._recompute()
        self.train()

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        seed_step(self, self.seed)
        images, size = batch["images"], len(batch["images"])
        loss, accuracy = preference_loss(self.scorer, images, batch["preferences"], self.loss)
        require_finite(loss, {"preference": loss}, step=self.global_step)
        self.log("loss", loss.detach(), prog_bar=True, batch_size=size)
        self.log("accuracy", accuracy, prog_bar=True, batch_size=size)
        return loss

    def train(self, mode: bool = True) -> ScorerTraining:
        super().train(mode)
        for module in self.resting:
            module.eval()
        return self

    def configure_optimizers(self) -> Any:
        groups = []
        for part, parameters in self.chosen.items():
            for decay in (True, False):
                # Biases, norms and scalars have no direction that decay could shorten.
                own = [p for p in parameters if (p.ndim > 1) == decay]
                if own:
                    group = {"params": own, "lr_scale": getattr(self.rates, part)}
                    groups.append(group | ({} if decay else {"weight_decay": 0.0}))
        return configure_training(self, self.optimizer_parameters, trained=groups)

    def on_fit_start(self) -> None:
        if str(self.trainer.precision).endswith("-true") and "32" not in str(
            self.trainer.precision
        ):
            raise ValueError(
                f"trainer.precision {self.trainer.precision} would also round the head: take"
                " bf16-mixed, or 32-true with model.start.dtype=bfloat16"
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what the run was, as plain values."""
        checkpoint["cmid"] = {
            "version": cmid.__version__,
            "method": "ScorerTraining",
            "start": asdict(self.start),
            "trained": list(self.trained),
            "global_step": int(self.global_step),
            "epoch": int(self.current_epoch),
        }

    def _recompute(self) -> None:
        trunk: Any = self.scorer.trunk
        if hasattr(trunk, "gradient_checkpointing_enable"):
            trunk.gradient_checkpointing_enable({"use_reentrant": False})
            return
        modules: list[nn.Module] = [*trunk.image.pretrained_modules(), trunk.text.module]
        for module in modules:
            module.set_grad_checkpointing()  # type: ignore[operator]
