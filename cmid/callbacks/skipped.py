"""Nothing is skipped silently."""

from __future__ import annotations

from itertools import chain
from typing import Any

import lightning as L
import torch

from cmid.processes import gather_objects, gather_rows


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
        # Of each process some, the first one's first.
        gathered = gather_objects(self.messages[: self.names_shown])
        for message in [*chain(*gathered)][: self.names_shown]:
            pl_module.print(f"  {message}")
        self.messages = []
