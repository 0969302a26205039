"""Batches of images with regions and texts, and a short training with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

pytest.importorskip("open_clip", reason="extra vision-language is not installed")

from cmid.optimization import OptimizerConfig
from cmid.vision_language.farslip.module import (
    FarSLIP,
    FarSLIPLossConfig,
)

ALL = FarSLIPLossConfig(1.0, 0.5, 1.0)
SGD = OptimizerConfig(name="sgd", base_lr=0.5, warmup_epochs=0)
STEPS = 3


def batch_of(samples: list[int]) -> dict[str, Any]:
    """Samples by number; image ``i`` has ``i % 3`` regions, so that processes differ in number."""
    images, regions, crops, texts, region_texts = [], [], [], [], []
    for place, sample in enumerate(samples):
        generator = torch.Generator().manual_seed(sample)
        images.append(torch.randint(0, 256, (3, 32, 32), generator=generator, dtype=torch.uint8))
        texts.append(f"a scene with {sample % 5} ships")
        for region in range(sample % 3):
            corner = torch.rand(2, generator=generator) * 0.5
            regions.append(torch.cat([torch.tensor([float(place)]), corner, corner + 0.4]))
            crops.append(torch.randint(0, 256, (3, 32, 32), generator=generator, dtype=torch.uint8))
            region_texts.append(("a ship", "a plane", "a tank")[(sample + region) % 3])
    return {
        "images": torch.stack(images),
        "texts": texts,
        "regions": torch.stack(regions) if regions else torch.zeros(0, 5),
        "region_images": torch.stack(crops)
        if crops
        else torch.zeros(0, 3, 32, 32, dtype=torch.uint8),
        "region_texts": region_texts,
        "region_keys": region_texts,
        "skipped": [],
    }


class Batches(L.LightningDataModule):
    """Two samples out of each four go to each of two processes, or all four to one."""

    def __init__(self, batch_size: int) -> None:
        super().__init__()
        self.batch_size = batch_size

    def train_dataloader(self) -> Any:
        rank, size = self.trainer.global_rank, self.batch_size
        starts = [4 * step + rank * size for step in range(STEPS)]
        lists = [list(range(start, start + size)) for start in starts]
        return DataLoader(lists, batch_size=None, collate_fn=batch_of)  # type: ignore[arg-type]


def train(model: FarSLIP, folder: Path, *, processes: int = 1, steps: int = STEPS) -> L.Trainer:
    trainer = L.Trainer(
        max_steps=steps,
        max_epochs=1,
        accelerator="cpu",
        devices=processes,
        strategy="auto" if processes == 1 else "ddp",
        use_distributed_sampler=False,
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, Batches(4 // processes))
    return trainer
