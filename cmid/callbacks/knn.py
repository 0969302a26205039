"""Online kNN: how well the features classify, while they are learned."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch

from cmid.data.classes import match_classes
from cmid.data.source import ImageSource
from cmid.evaluation import PooledFeatures, extract_features, knn_accuracy
from cmid.models import MaskedEncoder
from cmid.schedule import ends_due_epoch


class OnlineKNN(L.Callback):
    """Classify the labelled images of the datamodule by nearest neighbours, all of them.

    Scores the encoder of each role of a `PretrainMethod` (teacher, student): before the first step
    (random initialisation, the exported one alone), every ``every_n_epochs`` epochs and after the
    last. Classes of the two parts are matched by name. Does nothing without ``data.knn_train``.

    Args:
        every_n_epochs: 0 scores only at the beginning and the end.
        k: neighbours that vote.
        temperature: softmax temperature of their votes.
        batch_size: images at a time.
    """

    def __init__(
        self,
        every_n_epochs: int = 1,
        *,
        k: int = 20,
        temperature: float = 0.07,
        batch_size: int = 256,
    ) -> None:
        self.every_n_epochs = every_n_epochs
        self.k = k
        self.temperature = temperature
        self.batch_size = batch_size
        self.initial: float | None = None
        self.scores: dict[str, float] = {}

    def state_dict(self) -> dict[str, Any]:
        return {"initial": self.initial}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.initial = state_dict["initial"]

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        if self.initial is None and trainer.datamodule.knn_train is not None:  # type: ignore[attr-defined]
            self.initial = self.score(trainer, pl_module, pl_module.encoders()[pl_module.exported])
            log_scores(trainer, {"knn/random_init": self.initial})

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        if trainer.datamodule.knn_train is None:  # type: ignore[attr-defined]
            return
        if not ends_due_epoch(trainer, self.every_n_epochs):
            return
        self.scores = {
            role: self.score(trainer, pl_module, encoder)
            for role, encoder in pl_module.encoders().items()
        }
        log_scores(trainer, {f"knn/{role}": score for role, score in self.scores.items()})
        told = ", ".join(f"{score:.3f} ({role})" for role, score in self.scores.items())
        pl_module.print(
            f"epoch {trainer.current_epoch + 1}: kNN accuracy {told},"
            f" {self.initial:.3f} (random initialisation)"
        )

    def score(self, trainer: L.Trainer, pl_module: Any, encoder: MaskedEncoder) -> float:
        """Accuracy in [0, 1] of an encoder's pooled features."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]

        def features(source: ImageSource) -> tuple[torch.Tensor, torch.Tensor]:
            return extract_features(
                PooledFeatures(encoder),
                source,
                standardize=pl_module.views.standardize,
                size=data.image_size,
                batch_size=self.batch_size,
                rank=trainer.global_rank,
                world_size=trainer.world_size,
                precision=_autocast_dtype(trainer),
            )

        bank, (vectors, labels) = features(data.knn_train), features(data.knn_val)
        for name, found in (("data.knn_train", bank[1]), ("data.knn_val", labels)):
            if (found < 0).any():
                raise ValueError(f"{name}: an image has no class: give labelled images")
        # The same class may have another number there.
        mapping = torch.from_numpy(match_classes(data.knn_train, data.knn_val)).to(labels.device)
        queries = vectors, mapping[labels]
        return knn_accuracy(*bank, *queries, k=self.k, temperature=self.temperature)


def _autocast_dtype(trainer: L.Trainer) -> torch.dtype:
    return {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(
        str(trainer.precision), torch.float32
    )


def log_scores(trainer: L.Trainer, scores: dict[str, float]) -> None:
    """Give scores to all loggers, at the step that was just made."""
    for logger in trainer.loggers:
        logger.log_metrics(scores, step=trainer.global_step)
