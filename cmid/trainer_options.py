"""Lightning's trainer options in a run of ours: which fit, and what gives way to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Checkpoint, ProgressBar


def refuse_unfit(settings: Mapping[str, Any]) -> None:
    """Refuse options that a run cannot follow, instead of passing over them.

    Args:
        settings: the trainer's, from the configuration.

    Raises:
        ValueError: names the option and what to do.
    """
    if settings.get("barebones"):
        raise ValueError(
            "trainer.barebones true leaves out checkpoints, logs and the export: use"
            " --trainer.fast_dev_run N to try some steps, benchmarks.speed to time them"
        )
    if settings.get("overfit_batches"):
        raise ValueError(
            "trainer.overfit_batches replaces the resumable order of images: use"
            " --trainer.limit_train_batches N, or a source of few images"
        )
    if settings.get("default_root_dir") is not None:
        raise ValueError("trainer.default_root_dir: give the folder of a run with --run_dir")
    if settings.get("limit_train_batches") == 0:
        raise ValueError("trainer.limit_train_batches 0 leaves nothing to train on: give 1 or more")
    if settings.get("accumulate_grad_batches", 1) < 1:
        raise ValueError("trainer.accumulate_grad_batches: give 1 or more")
    if settings.get("precision") in ("16-true", "bf16-true"):
        raise ValueError(
            f"trainer.precision {settings['precision']} keeps weights and statistics in 16 bits,"
            f" which training does not survive: use {settings['precision'][:-4]}mixed"
        )
    if settings.get("precision") == "16-mixed" and settings.get("strategy") == "fsdp":
        raise ValueError(
            "trainer.precision 16-mixed needs losses scaled, which trainer.strategy fsdp does not"
            " do: use bf16-mixed or 32-true, or trainer.strategy ddp"
        )
    if settings.get("sync_batchnorm") and settings.get("accelerator") == "cpu":
        raise ValueError("trainer.sync_batchnorm true needs GPUs: leave it out on a CPU")


def fitting_callbacks(
    callbacks: Sequence[L.Callback], settings: Mapping[str, Any], *, given: Any = None
) -> list[L.Callback]:
    """Callbacks of ours that go with the trainer's settings, behind those that the user added.

    Args:
        callbacks: ours; a progress bar gives way to ``enable_progress_bar false`` and to a bar of
            the user, checkpoints to ``enable_checkpointing false``.
        given: the user's own, as the configuration holds them.
    """
    users = as_list(given)
    if settings.get("enable_progress_bar") is False or any(
        isinstance(callback, ProgressBar) for callback in users
    ):
        callbacks = [c for c in callbacks if not isinstance(c, ProgressBar)]
    if settings.get("enable_checkpointing") is False:
        callbacks = [c for c in callbacks if not isinstance(c, Checkpoint)]
    return [*users, *callbacks]


def as_list(value: Any) -> list[Any]:
    """A list of what may be nothing, one thing, or several."""
    if value is None:
        return []
    return [*value] if isinstance(value, list | tuple) else [value]


@contextmanager
def option_errors() -> Iterator[None]:
    """Turn what Lightning raises while it reads its options into an error of the options."""
    try:
        yield
    except (MisconfigurationException, ImportError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, ValueError) and str(error).startswith("trainer."):
            raise
        raise ValueError(f"trainer options: {' '.join(str(error).split())}") from error
