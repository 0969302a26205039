"""Two processes train a multimodal model as one does with the doubled batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("transformers", reason="extra multimodal is not installed")

import lightning as L
from lightning.pytorch.strategies import ModelParallelStrategy

from cmid.multimodal.building import MultimodalConfig
from cmid.multimodal.data import Mixture, MultimodalData, SceneConversations
from cmid.multimodal.experts import ExpertsConfig, NoisyTopKRouter
from cmid.multimodal.language import AdapterConfig, LanguageConfig
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
ADAPTER = AdapterConfig(rank=4, alpha=8, dropout=0.0)

# Name of a job: strategy of two processes, and what learns.
JOBS: dict[str, tuple[str, Any]] = {
    "copied": ("ddp", StageConfig(trained=("perceiver", "language"), average="answers")),
    "sharded": ("fsdp", StageConfig(trained=("perceiver", "language"), average="answers")),
    "experts": (
        "ddp",
        StageConfig(trained=("perceiver",), experts=ExpertsConfig(balance=0.1)),
    ),
    "adapted": ("fsdp", StageConfig(trained=("perceiver", "adapter"), adapter=ADAPTER)),
}


def train(job: str, processes: int, result: Path) -> None:
    """Three steps on two sources by weight; keep the weights.

    Answers of unequal lengths, so that means over each process would differ from that of all.
    """
    torch.manual_seed(0)
    torch.set_num_threads(1)
    strategy: Any
    strategy, stage = JOBS[job]
    if strategy == "fsdp":
        strategy = ModelParallelStrategy(save_distributed_checkpoint=False)
    sources = [
        SceneConversations(16, size=32, kinds=["caption"], limit=1),
        SceneConversations(16, size=32, kinds=["presence", "classification"], limit=1, seed=1),
    ]
    # SGD: Adam would turn the rounding of vanishing gradients into whole steps.
    module = MultimodalTraining(
        CONFIG,
        stage=stage,
        optimizer=OptimizerConfig(name="sgd", base_lr=5.0, warmup_epochs=0),
    )
    for part in module.modules():
        if isinstance(part, NoisyTopKRouter):  # each process draws noise of its own
            part.register_forward_pre_hook(_without_noise)
    mixed = Mixture(sources, [1, 2], length=24)
    trainer = L.Trainer(
        max_steps=3, accelerator="cpu", devices=processes,
        strategy="auto" if processes == 1 else strategy, default_root_dir=result.parent,
        logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    held_out = SceneConversations(4, size=32, kinds=["presence"], limit=1, seed=2)
    data = MultimodalData(
        mixed, size=32, batch_size=8 // processes, num_workers=0, val_source=held_out
    )
    trainer.fit(module, data)
    trainer.save_checkpoint(result)
    assert trainer.callback_metrics["val/loss"].isfinite()
    if trainer.is_global_zero:
        model = module.whole_model(result)
        torch.save({k: v.detach() for k, v in model.named_parameters()}, result)


def _without_noise(router: NoisyTopKRouter, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return inputs[0], inputs[0].new_zeros(len(inputs[0]), router.first.out_features)


def join(rank: int, folder: Path) -> None:
    for job in JOBS:
        train(job, 2, folder / f"two_{job}.pt")


@pytest.mark.slow
def test_two_processes_are_one(tmp_path: Path) -> None:
    assert run_together(join, tmp_path) == [0, 0]
    for job, (_, stage) in JOBS.items():
        train(job, 1, tmp_path / f"one_{job}.pt")
        one, two = (
            torch.load(tmp_path / f"{name}_{job}.pt", weights_only=True) for name in ("one", "two")
        )
        start: Any = dict(MultimodalTraining(CONFIG, stage=stage).model.named_parameters())
        moved = max(float((one[name] - start[name]).abs().max().detach()) for name in start)
        assert moved > 1e-2
        for name, weight in one.items():
            torch.testing.assert_close(two[name], weight, atol=1e-5, rtol=1e-4, msg=f"{job} {name}")
