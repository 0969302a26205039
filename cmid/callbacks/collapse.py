"""A loss can fall while features collapse: watch the features themselves."""

from __future__ import annotations

from typing import Any

import lightning as L

from cmid.console import warn
from cmid.evaluation import effective_rank, relative_std


class CollapseMonitor(L.Callback):
    """Log effective rank and spread of a method's pooled features, warn when they vanish.

    What else the method watches is logged with them (`PretrainMethod.watched`).

    Args:
        every_n_steps: how often.
        min_rank: warn below this effective rank.
        min_std: warn below this relative standard deviation.
    """

    def __init__(
        self, every_n_steps: int = 50, *, min_rank: float = 2.0, min_std: float = 0.05
    ) -> None:
        self.every_n_steps = every_n_steps
        self.min_rank = min_rank
        self.min_std = min_std
        self.warned = False

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step % self.every_n_steps or len(outputs["features"]) < 3:
            return
        rank = effective_rank(outputs["features"])
        std = relative_std(outputs["features"])
        logged = {"features/effective_rank": rank, "features/relative_std": std}
        pl_module.log_dict(logged | pl_module.watched())
        if not self.warned and (rank < self.min_rank or std < self.min_std):
            self.warned = True
            warn(
                f"features collapse at step {trainer.global_step}: effective rank {rank:.2f},"
                f" relative std {std:.3f}; lower the learning rate, raise the weight of the"
                " contrastive loss, or check that the images differ"
            )
