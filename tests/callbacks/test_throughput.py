"""Speed of a run, also of one that goes on within an epoch."""

from __future__ import annotations

import time
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from cmid.callbacks.throughput import ThroughputMonitor


class _Line(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch: list[Tensor]) -> Tensor:
        return self.layer(batch[0]).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def _fit(folder: Path, steps: int, *, resume: Path | None = None) -> tuple[L.Trainer, float]:
    trainer = L.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[
            ThroughputMonitor(2, images_key=0),
            ModelCheckpoint(folder, filename="{step}", every_n_train_steps=3),
        ],
    )
    images = torch.utils.data.TensorDataset(torch.rand(64, 1))
    begun = time.perf_counter()
    trainer.fit(_Line(), torch.utils.data.DataLoader(images, batch_size=4), ckpt_path=resume)
    return trainer, time.perf_counter() - begun


def test_a_run_resumed_within_an_epoch_counts_its_own_time_alone(tmp_path: Path) -> None:
    _fit(tmp_path, 4)
    # The clock starts with the machine: were it read as a time of this run, nothing would be fast.
    resumed, took = _fit(tmp_path, 5, resume=tmp_path / "step=3.ckpt")
    assert resumed.callback_metrics["speed/images_per_second"] > 2 * 4 / took
    assert 0 <= resumed.callback_metrics["speed/waiting_for_data"] <= 1
