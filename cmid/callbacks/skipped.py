"""Nothing is skipped silently."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
import torch.distributed as dist

from cmid.processes import gather_rows, num_processes


class SkippedImages(L.Callback):
    """Count the unreadable images that were replaced, and say so at the end of each epoch."""

    def __init__(self, names_shown: int = 5) -> None:
        self.names_shown = names_shown
        self.messages: list[str] = []

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        for entry in batch["skipped"]:
            self.messages += entry.splitlines()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        count = torch.tensor([len(self.messages)], device=pl_module.device)
        total = int(gather_rows(count).sum())
        pl_module.log("data/skipped", float(total), rank_zero_only=True)
        if total:
            pl_module.print(f"epoch {trainer.current_epoch + 1}: {total} unreadable images skipped")
        for message in self._of_all_processes()[: self.names_shown]:
            pl_module.print(f"  {message}")
        self.messages = []

    def _of_all_processes(self) -> list[str]:
        """Messages of the first process, then those of the others; some of each."""
        shown = self.messages[: self.names_shown]
        if num_processes() == 1:
            return shown
        gathered: list[list[str]] = [[] for _ in range(num_processes())]
        dist.all_gather_object(gathered, shown)
        return [message for messages in gathered for message in messages]
