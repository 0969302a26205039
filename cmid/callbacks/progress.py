"""One bar for the whole run, with the time to its end."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar
from tqdm.auto import tqdm


class TrainingProgress(ProgressBar):
    """Steps done of all steps, losses, speed and the time left until training ends."""

    def __init__(self, refresh_every: int = 5, *, title: str = "pretraining") -> None:
        super().__init__()
        self.title = title
        self.refresh_every = refresh_every
        self.bar: tqdm | None = None
        self.enabled = True

    @property
    def is_enabled(self) -> bool:
        return self.enabled

    def disable(self) -> None:
        self.enabled = False

    def enable(self) -> None:
        self.enabled = True

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.bar = tqdm(
            total=int(trainer.estimated_stepping_batches),
            initial=trainer.global_step,
            desc=self.title,
            unit="step",
            dynamic_ncols=True,
            disable=not (self.enabled and trainer.is_global_zero),
        )

    def on_train_batch_end(self, *args: Any) -> None:
        trainer, pl_module = args[0], args[1]
        if self.bar is None or trainer.global_step % self.refresh_every:
            return
        self.bar.set_postfix(
            {
                "epoch": f"{trainer.current_epoch + 1}/{trainer.max_epochs}",
                **{k: v for k, v in self.get_metrics(trainer, pl_module).items() if k != "v_num"},
            },
            refresh=False,
        )
        self.bar.update(trainer.global_step - self.bar.n)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._close(trainer)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        self._close(trainer)

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the bar."""
        tqdm.write(" ".join(str(arg) for arg in args))

    def _close(self, trainer: L.Trainer) -> None:
        if self.bar is not None:
            self.bar.update(max(0, trainer.global_step - self.bar.n))
            self.bar.close()
            self.bar = None
