"""Two processes train a scorer as one does with the doubled batch, and measure the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.strategies import ModelParallelStrategy

from cmid.optimization import OptimizerConfig
from cmid.vision_language.scoring.config import PreferenceLossConfig, ScorerConfig
from cmid.vision_language.scoring.held_out import HeldOutPreferences
from cmid.vision_language.scoring.module import ScorerTraining
from cmid.vision_language.scoring.preference_data import PreferenceData
from cmid.vision_language.scoring.scene_preferences import ScenePreferences
from tests.together import run_together

# Name of a job: strategy of two processes, model and loss.
JOBS = {
    "ranking": ("ddp", "clip", PreferenceLossConfig()),
    "pairs": ("ddp", "clip", PreferenceLossConfig("pairs", margin=0.5)),
    "contrast": ("ddp", "clip", PreferenceLossConfig(contrast=0.5)),
    "sharded": ("fsdp", "language_model", PreferenceLossConfig()),
}


def train(job: str, models: dict[str, str], *, processes: int, result: Path) -> None:
    """Train three steps; keep the weights and the accuracies."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    name, kind, loss = JOBS[job]
    strategy: Any = name
    if name == "fsdp":
        strategy = ModelParallelStrategy(save_distributed_checkpoint=False)
    # SGD: Adam would turn the rounding of vanishing gradients into whole steps.
    module = ScorerTraining(
        ScorerConfig(**{kind: models[kind]}, hidden=16, patches=True),  # type: ignore[arg-type]
        loss=loss,
        optimizer=OptimizerConfig(name="sgd", base_lr=5.0, warmup_epochs=0),
    )
    held_out = HeldOutPreferences(ScenePreferences(15, size=32, seed=1), batch_size=4)
    trainer = L.Trainer(
        max_steps=3,
        accelerator="cpu",
        devices=processes,
        strategy="auto" if processes == 1 else strategy,
        default_root_dir=result.parent,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[held_out],
    )
    source = ScenePreferences(20, size=32, seed=2)
    trainer.fit(module, PreferenceData(source, batch_size=12 // processes, num_workers=0))
    trainer.save_checkpoint(result)
    if trainer.is_global_zero:
        scorer = module.whole_scorer(result)
        assert held_out.last is not None
        kept = {"state": scorer.state_dict(), "accuracy": dict(held_out.last.kinds)}
        torch.save(kept | {"pairs": held_out.last.pairs}, result)


def join(rank: int, models: dict[str, str], folder: Path) -> None:
    for job in JOBS:
        train(job, models, processes=2, result=folder / f"two_{job}.pt")


@pytest.mark.slow
def test_two_processes_are_one(
    tiny_clip: str, qwen: Any, qwen_processor: Any, tmp_path: Path
) -> None:
    pytest.importorskip("open_clip", reason="extra vision-language is not installed")
    qwen.save_pretrained(tmp_path / "qwen")
    qwen_processor.save_pretrained(tmp_path / "qwen")
    models = {"clip": tiny_clip, "language_model": str(tmp_path / "qwen")}
    assert run_together(join, models, tmp_path) == [0, 0]
    for job in JOBS:
        train(job, models, processes=1, result=tmp_path / f"one_{job}.pt")
        one, two = (
            torch.load(tmp_path / f"{name}_{job}.pt", weights_only=True) for name in ("one", "two")
        )
        assert (one["accuracy"], one["pairs"]) == (two["accuracy"], two["pairs"])
        for name, tensor in one["state"].items():
            torch.testing.assert_close(two["state"][name], tensor, atol=2e-5, rtol=1e-3)
