"""The way to the end of a run: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar
from tqdm.auto import tqdm


class TrainingProgress(ProgressBar):
    """Steps done of all steps, losses, speed and the time left until training ends.

    Where the standard error is neither a terminal nor a notebook (a job's log, a pipe), lines
    appear instead of a bar, which would leave thousands of carriage returns there.

    Args:
        refresh_every: steps between two states of the bar.
        title: what the bar or the line begins with.
        line_every: seconds between two lines of a log; the last step always has one.
    """

    def __init__(
        self, refresh_every: int = 5, *, title: str = "pretraining", line_every: float = 30
    ) -> None:
        super().__init__()
        self.title = title
        self.refresh_every = refresh_every
        self.line_every = line_every
        self.bar: tqdm | None = None
        self.enabled = True
        self.total = self.first_step = self.told = 0
        self.started = self.last_line = 0.0

    @property
    def is_enabled(self) -> bool:
        return self.enabled

    def disable(self) -> None:
        self.enabled = False

    def enable(self) -> None:
        self.enabled = True

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.total = int(trainer.estimated_stepping_batches)
        self.first_step = self.told = trainer.global_step
        self.started = self.last_line = time.monotonic()
        if self.enabled and trainer.is_global_zero and _shows_bars():
            self.bar = tqdm(
                total=self.total,
                initial=trainer.global_step,
                desc=self.title,
                unit="step",
                dynamic_ncols=True,
            )

    def on_train_batch_end(self, *args: Any) -> None:
        trainer, pl_module = args[0], args[1]
        if trainer.global_step % self.refresh_every == 0:
            self._show(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._show(trainer, pl_module, last=True)
        self._close(trainer)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        self._close(trainer)

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the bar."""
        tqdm.write(" ".join(str(arg) for arg in args))

    def _show(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *, last: bool = False
    ) -> None:
        if not (self.enabled and trainer.is_global_zero):
            return
        last_epoch = trainer.max_epochs if (trainer.max_epochs or -1) > 0 else "?"
        state = {"epoch": f"{trainer.current_epoch + (not last)}/{last_epoch}"}
        metrics = self.get_metrics(trainer, pl_module)
        state |= {k: _text(v) for k, v in metrics.items() if k != "v_num"}
        if self.bar is not None:
            self.bar.set_postfix(state, refresh=False)
            self.bar.update(trainer.global_step - self.bar.n)
            return
        now = time.monotonic()
        if trainer.global_step == self.told or not (last or now - self.last_line > self.line_every):
            return
        self.last_line, self.told = now, trainer.global_step
        print(self._line(trainer.global_step, now, state), file=sys.stderr, flush=True)

    def _line(self, step: int, now: float, state: dict[str, str]) -> str:
        per_step = (now - self.started) / max(step - self.first_step, 1)
        left = timedelta(seconds=round(per_step * max(self.total - step, 0)))
        told = ", ".join(f"{name} {value}" for name, value in state.items())
        return f"{self.title}: step {step}/{self.total}, {per_step:.2f} s/step, {left} left, {told}"

    def _close(self, trainer: L.Trainer) -> None:
        if self.bar is not None:
            self.bar.update(max(0, trainer.global_step - self.bar.n))
            self.bar.close()
            self.bar = None


def _shows_bars() -> bool:
    """Whether a bar can be drawn over itself: on a terminal, or in a notebook."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
