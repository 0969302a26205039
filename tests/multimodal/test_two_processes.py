"""Two processes train a multimodal model as one does with the doubled batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("transformers", reason="extra multimodal is not installed")

import lightning as L

from cmid.multimodal.building import MultimodalConfig
from cmid.multimodal.data import Mixture, MultimodalData, SceneConversations
from cmid.multimodal.language import LanguageConfig
from cmid.multimodal.module import MultimodalTraining
from cmid.multimodal.perceiver import PerceiverConfig
from cmid.multimodal.stages import StageConfig
from cmid.multimodal.tower import TowerConfig
from cmid.optimization import OptimizerConfig
from tests.together import run_together

CONFIG = MultimodalConfig(
    tower=TowerConfig("random:test_resnet", size=32),
    perceiver=PerceiverConfig(queries=(4, 3, 2), width=32, heads=4, layers=1),
    language=LanguageConfig("tiny:llama:64x2", tokenizer="bytes"),
)


def train(processes: int, result: Path) -> None:
    """Three steps on two sources by weight; keep the weights.

    Answers of unequal lengths, so that means over each process would differ from that of all.
    """
    torch.manual_seed(0)
    torch.set_num_threads(1)
    sources = [
        SceneConversations(16, size=32, kinds=["caption"], limit=1),
        SceneConversations(16, size=32, kinds=["presence", "classification"], limit=1, seed=1),
    ]
    # SGD: Adam would turn the rounding of vanishing gradients into whole steps.
    module = MultimodalTraining(
        CONFIG,
        stage=StageConfig(trained=("perceiver", "language"), average="answers"),
        optimizer=OptimizerConfig(name="sgd", base_lr=5.0, warmup_epochs=0),
    )
    mixed = Mixture(sources, [1, 2], length=24)
    trainer = L.Trainer(
        max_steps=3, accelerator="cpu", devices=processes,
        strategy="auto" if processes == 1 else "ddp", default_root_dir=result.parent,
        logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, MultimodalData(mixed, size=32, batch_size=8 // processes, num_workers=0))
    if trainer.is_global_zero:
        torch.save({k: v.detach() for k, v in module.model.named_parameters()}, result)


def join(rank: int, folder: Path) -> None:
    train(2, folder / "two.pt")


@pytest.mark.slow
def test_two_processes_are_one(tmp_path: Path) -> None:
    assert run_together(join, tmp_path) == [0, 0]
    train(1, tmp_path / "one.pt")
    one, two = (torch.load(tmp_path / f"{n}.pt", weights_only=True) for n in ("one", "two"))
    start: Any = dict(MultimodalTraining(CONFIG).model.named_parameters())
    moved = max(float((one[name] - start[name]).abs().max().detach()) for name in one)
    assert moved > 1e-2
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, atol=1e-5, rtol=1e-4, msg=name)
