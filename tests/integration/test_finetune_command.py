from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.in_process import Outcome, run

REDUCED = ["--data.num_scenes=200", "--data.size=32", "--data.num_workers=0"]
REDUCED += ["--model.backbone=random:resnet18", "--checkpoints.every_n_steps=3"]


def finetune(*arguments: str) -> Outcome:
    return run("tools/finetune.py", *arguments)


@pytest.mark.slow
def test_a_run_and_its_continuation(tmp_path: Path) -> None:
    run_dir = ["--run_dir", str(tmp_path / "run")]
    done = finetune(*REDUCED, *run_dir, "--trainer.max_epochs=1")
    assert done.status == 0, done.err[-3000:]
    assert "accuracy 0." in done.out
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"results.json", "classes.csv", "confusion.png", "checkpoints", "csv"} <= names
    done = finetune(*REDUCED, *run_dir, "--trainer.max_epochs=2", "--ckpt_path=last")
    assert done.status == 0, done.err[-3000:]
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["epochs"] == 2
    assert results["test_images"] == 40
    steps = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert steps[-1] == "step-00000010.ckpt"  # 160 images, 2 epochs of 5 steps of 32


@pytest.mark.slow
def test_unknown_keys_suggest_the_nearest(tmp_path: Path) -> None:
    done = finetune(*REDUCED, "--model.layer_decai=0.5", "--run_dir", str(tmp_path / "run"))
    assert done.status != 0
    assert "layer_decay" in done.err
    assert not (tmp_path / "run").exists()
    done = finetune("--model.backbone=random:resnet18", f"--data.root={tmp_path / 'none'}")
    assert done.status != 0
    assert "none does not exist" in done.err
    assert "Traceback" not in done.err


def test_help_is_there_at_once() -> None:
    done = finetune("--help")
    assert done.status == 0
    assert "--model.backbone" in done.out


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ucm", "aid", "resisc45", "rsscn7", "eurosat", "millionaid"])
def test_configurations_are_understood(name: str) -> None:
    config = f"configs/classification/{name}.yaml"
    done = finetune("--config", config, "--model.backbone=random:resnet50", "--print_config")
    assert done.status == 0, done.err[-2000:]
    assert "base_lr: 0.05" in done.out
