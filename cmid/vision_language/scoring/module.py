"""A scorer that learns from preferences, as a LightningModule; each stage is a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh

import cmid
from cmid.checkpoints.runs import open_checkpoint
from cmid.methods.sharding import shard
from cmid.objective import require_finite
from cmid.optimization import OptimizerConfig, configure_training, seed_step
from cmid.vision_language.scoring.config import (
    LowRankConfig,
    Part,
    PreferenceLossConfig,
    RateConfig,
    ScorerConfig,
)
from cmid.vision_language.scoring.dual_encoder import DualEncoderScorer, EncodedPairs
from cmid.vision_language.scoring.language_model import LanguageModelScorer
from cmid.vision_language.scoring.objective import contrast_loss, preference_loss
from cmid.vision_language.scoring.starting import (
    Scorer,
    choose_trained,
    merge_adapters,
    starting_scorer,
)


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
        self.start, self.trained, self.lora, self.loss = start, tuple(trained), lora, loss
        self.rates, self.optimizer_parameters, self.seed = rates, optimizer, seed
        torch.manual_seed(seed)
        self.scorer = starting_scorer(start)
        if loss.contrast and not isinstance(self.scorer, DualEncoderScorer):
            raise ValueError("model.loss.contrast is for scorers on a CLIP: leave it 0")
        self.chosen = choose_trained(self.scorer, self.trained, lora)
        towers = self.scorer.towers()
        self.resting = [m for name, ms in towers.items() if name not in trained for m in ms]
        if grad_checkpointing:
            self._recompute()
        self.sharded = False
        self.train()

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        seed_step(self, self.seed)
        images, size = batch["images"], len(batch["images"])
        preferences = batch["preferences"]
        encoded: list[EncodedPairs] = []

        def score(*rows: Any) -> Tensor:
            if not isinstance(self.scorer, DualEncoderScorer):
                return self.scorer(*rows)
            encoded.append(self.scorer.encode(*rows))
            return self.scorer.compare_encoded(encoded[0])

        loss, accuracy = preference_loss(score, images, preferences, self.loss)
        terms = {"preference": loss}
        if self.loss.contrast:
            assert isinstance(self.scorer, DualEncoderScorer)
            terms["contrast"] = contrast_loss(self.scorer, encoded[0], preferences)
            loss = loss + self.loss.contrast * terms["contrast"]
            self.log_dict({f"loss/{k}": v.detach() for k, v in terms.items()}, batch_size=size)
        require_finite(loss, terms, step=self.global_step)
        self.log("loss", loss.detach(), prog_bar=True, batch_size=size)
        self.log("accuracy", accuracy, prog_bar=True, batch_size=size)
        return loss

    def train(self, mode: bool = True) -> ScorerTraining:
        super().train(mode)
        for module in self.resting:
            module.eval()
        return self

    def configure_model(self) -> None:
        """Split a language model over processes, where the strategy is fsdp."""
        if self.device_mesh is None or self.sharded:
            return
        if not isinstance(self.scorer, LanguageModelScorer):
            raise ValueError("trainer.strategy=fsdp is for language models: a CLIP fits, take ddp")
        # Lightning's own mesh keeps the processes of a node for tensor parallelism.
        mesh = init_device_mesh(self.device_mesh.device_type, (self.trainer.world_size,))
        for block in self.scorer.blocks():
            shard(block, mesh)
        shard(self.scorer, mesh)
        self.sharded = True

    def whole_scorer(self, checkpoint: Path) -> Scorer:
        """The scorer as it is now, adapters merged; a split one from its last checkpoint."""
        scorer = self.scorer
        if self.sharded:
            scorer = starting_scorer(self.start)
            choose_trained(scorer, self.trained, self.lora)
            state = open_checkpoint(checkpoint)["state_dict"]
            scorer.load_state_dict({k.removeprefix("scorer."): v for k, v in state.items()})
        merge_adapters(scorer)
        return scorer

    def configure_optimizers(self) -> Any:
        groups, parameters = [], dict(self.scorer.named_parameters())
        fusion = {name for name in parameters if name.startswith("fusion.")}
        parts: dict[str, Sequence[str]] = {
            **self.chosen,
            "head": [name for name in self.chosen.get("head", ()) if name not in fusion],
            "fusion": [name for name in self.chosen.get("head", ()) if name in fusion],
        }
        for part, names in parts.items():
            for decay in (True, False):
                # Biases, norms and scalars have no direction that decay could shorten.
                own = [parameters[n] for n in names if (parameters[n].ndim > 1) == decay]
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
