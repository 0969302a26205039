"""What a run writes into its checkpoints about itself, and looks at when it goes on from one."""

from __future__ import annotations

from typing import Any

import lightning as L

from cmid.resume import RECORD


class RunRecord(L.Callback):
    """Keep the configuration in every checkpoint; refuse an optimizer's state that does not fit.

    Attributes:
        experiment: plain values by option, see `cmid.resume.experiment`.
    """

    def __init__(self) -> None:
        self.experiment: dict[str, Any] = {}
        self._groups: list[int] | None = None
        self._batches: int | None = None

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        batches = trainer.num_training_batches
        checkpoint[RECORD] = {
            "experiment": self.experiment,
            "batches_per_epoch": int(batches) if batches != float("inf") else None,
        }

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._batches = checkpoint.get(RECORD, {}).get("batches_per_epoch")
        states = checkpoint.get("optimizer_states") or [{}]
        # Sharded optimizers keep their state by name.
        if isinstance(groups := states[0].get("param_groups"), list):
            self._groups = [len(group["params"]) for group in groups]

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._groups is None or not trainer.optimizers:
            return
        here = [len(group["params"]) for group in trainer.optimizers[0].param_groups]
        if here != self._groups:
            raise ValueError(
                f"the optimizer has groups of {here} parameters, in the checkpoint {self._groups}:"
                " weight decay on or off, layer decay and what is frozen must be the checkpoint's"
            )

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        amid = bool(trainer.fit_loop.epoch_loop.batch_progress.current.ready)
        if self._batches is not None and self._batches != trainer.num_training_batches and amid:
            pl_module.print(
                f"an epoch has {trainer.num_training_batches} batches, in the checkpoint"
                f" {self._batches}: of the interrupted epoch, images may come twice or not at all"
            )
