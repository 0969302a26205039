"""Two processes train a scorer as one does with the doubled batch, and measure the same."""

from __future__ import annotations

import os
import socket
import traceback
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import torch.multiprocessing as mp

from cmid.optimization import OptimizerConfig
from cmid.processes import leave_group
from cmid.vision_language.scoring.config import PreferenceLossConfig, ScorerConfig
from cmid.vision_language.scoring.held_out import HeldOutPreferences
from cmid.vision_language.scoring.module import ScorerTraining
from cmid.vision_language.scoring.preference_data import PreferenceData
from cmid.vision_language.scoring.scene_preferences import ScenePreferences

LOSSES = {"ranking": PreferenceLossConfig(), "pairs": PreferenceLossConfig("pairs", margin=0.5)}


def train(clip: str, loss: str, *, processes: int, result: Path) -> None:
    """Train three steps; keep the weights and the accuracies."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    # SGD: Adam would turn the rounding of vanishing gradients into whole steps.
    module = ScorerTraining(
        ScorerConfig(clip=clip, hidden=16, patches=True),
        loss=LOSSES[loss],
        optimizer=OptimizerConfig(name="sgd", base_lr=5.0, warmup_epochs=0),
    )
    held_out = HeldOutPreferences(ScenePreferences(15, size=32, seed=1), batch_size=4)
    trainer = L.Trainer(
        max_steps=3,
        accelerator="cpu",
        devices=processes,
        strategy="auto" if processes == 1 else "ddp",
        default_root_dir=result.parent,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[held_out],
    )
    source = ScenePreferences(20, size=32, seed=2)
    trainer.fit(module, PreferenceData(source, batch_size=12 // processes, num_workers=0))
    if trainer.is_global_zero:
        assert held_out.last is not None
        kept = {"state": module.state_dict(), "accuracy": dict(held_out.last.kinds)}
        torch.save(kept | {"pairs": held_out.last.pairs}, result)


def join(rank: int, port: int, clip: str, folder: Path) -> None:
    os.environ |= {
        **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"},
        **{"RANK": str(rank), "LOCAL_RANK": str(rank), "NODE_RANK": "0", "LOCAL_WORLD_SIZE": "2"},
    }
    try:
        for loss in LOSSES:
            train(clip, loss, processes=2, result=folder / f"two_{loss}.pt")
        leave_group()
    except BaseException:
        (folder / f"error_{rank}.txt").write_text(traceback.format_exc())
        raise


@pytest.mark.slow
def test_two_processes_are_one(tiny_clip: str, tmp_path: Path) -> None:
    pytest.importorskip("open_clip", reason="extra vision-language is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(join, (port, tiny_clip, tmp_path), nprocs=2)  # type: ignore[no-untyped-call]
    for loss in LOSSES:
        train(tiny_clip, loss, processes=1, result=tmp_path / "one.pt")
        one, two = (
            torch.load(tmp_path / name, weights_only=True) for name in ("one.pt", f"two_{loss}.pt")
        )
        assert (one["accuracy"], one["pairs"]) == (two["accuracy"], two["pairs"])
        start: dict[str, Any] = ScorerTraining(
            ScorerConfig(clip=tiny_clip, hidden=16, patches=True)
        ).state_dict()
        moved = [n for n in start if not torch.equal(start[n], one["state"][n])]
        assert len(moved) > 20
        for name, tensor in one["state"].items():
            torch.testing.assert_close(two["state"][name], tensor, atol=1e-5, rtol=1e-4)
