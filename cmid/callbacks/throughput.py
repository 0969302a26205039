"""Speed, waiting and memory of a run."""

from __future__ import annotations

import resource
import sys
import time
from typing import Any

import lightning as L
import torch


class ThroughputMonitor(L.Callback):
    """Log images per second, the share of time spent waiting for data, and peak memory.

    Args:
        every_n_steps: over how many steps times are averaged.
        images_key: key (or place) of the entry of a batch whose length is its number of images.
    """

    def __init__(self, every_n_steps: int = 20, *, images_key: str | int = "views") -> None:
        self.images_key = images_key
        self.every_n_steps = every_n_steps
        self.start = self.last_end = self.waited = 0.0
        self.images = self.steps = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        # Within an epoch a resumed run does not start one.
        self._restart(time.perf_counter())

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self._restart(time.perf_counter())

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        self.waited += time.perf_counter() - self.last_end

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.images += len(batch[self.images_key]) * trainer.world_size
        self.steps += 1
        if self.steps == self.every_n_steps:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            now = time.perf_counter()
            pl_module.log(
                "speed/images_per_second", self.images / (now - self.start), prog_bar=True
            )
            pl_module.log_dict(
                {
                    "speed/waiting_for_data": self.waited / (now - self.start),
                    "speed/peak_memory_gib": peak_memory_gib(),
                    "optimizer/lr": trainer.optimizers[0].param_groups[0]["lr"],
                }
            )
            self._restart(now)
        self.last_end = time.perf_counter()

    def _restart(self, now: float) -> None:
        self.start = self.last_end = now
        self.images = self.steps = 0
        self.waited = 0.0


def peak_memory_gib(device: str | None = None) -> float:
    """Peak memory so far, of the GPU where there is one, else of this process.

    Args:
        device: ``cuda:1`` means that GPU, ``cpu`` the process.
    """
    if torch.cuda.is_available() if device is None else device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 2**30
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts kibibytes, macOS bytes.
    return peak / (2**30 if sys.platform == "darwin" else 2**20)
