"""Where in its epoch a resumed run goes on.

Lightning writes other counts at the last batch of an epoch than after it, and counts the epoch in
which ``max_steps`` ended a run as done. Resumed from the former and then once more, a run does an
epoch too many; continued from the latter, one too few. Here both take one form.
"""

from __future__ import annotations

from typing import Any

import lightning as L

_STAGES = ("ready", "started", "processed", "completed")


def batches_done(done: int, *, before: int, now: int) -> int:
    """Batches of an epoch that count as done where it had ``before`` of them and has ``now``."""
    return min(max(done * now // before, 1), now) if done else 0


def go_on_within_epoch(trainer: L.Trainer, *, before: int | None, now: int | None) -> None:
    """Put the counts that a checkpoint restored into the form from which training goes on.

    Args:
        before, now: batches per epoch of the run that wrote the checkpoint, and of this one; a run
            is as far in its epoch as it was. None where they are not known.
    """
    loop = trainer.fit_loop.epoch_loop
    epochs: Any = trainer.fit_loop.epoch_progress
    batches: Any = loop.batch_progress
    done = batches.current.ready
    if not done:
        return
    at_batch_end = batches.total.completed < batches.total.processed
    if batches.is_last_batch or (before is not None and done >= before):
        _set(epochs.current, epochs.current.ready)
        _set(epochs.total, epochs.total.ready)
        _set(batches.total, batches.total.ready)
        _set(batches.current, 0)
        batches.is_last_batch = False
        loop.scheduler_progress.reset_on_run()
        loop.automatic_optimization.optim_progress.reset_on_run()
        # Lightning counts the step of the log after the checkpoint of a batch.
        loop._batches_that_stepped += int(at_batch_end)
    else:
        for progress in (epochs.current, epochs.total):
            progress.processed = progress.completed = progress.ready - 1
        if before and now:
            _set(batches.current, batches_done(done, before=before, now=now))
        for progress in (batches.current, batches.total):
            progress.completed = progress.processed - 1
        loop._batches_that_stepped -= int(not at_batch_end)
    trainer.fit_loop.restarting = True  # decides anew what is unfinished


def _set(progress: Any, count: int) -> None:
    for stage in _STAGES:
        setattr(progress, stage, count)
