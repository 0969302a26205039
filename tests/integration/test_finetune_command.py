from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
REDUCED = ["--data.num_scenes=200", "--data.size=32", "--data.num_workers=0"]
REDUCED += ["--model.backbone=random:resnet18", "--checkpoints.every_n_steps=3"]


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(root / "tools/finetune.py"), *arguments],
        cwd=root,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_a_run_and_its_continuation(root: Path, tmp_path: Path) -> None:
    run_dir = ["--run_dir", str(tmp_path / "run")]
    done = run(root, *REDUCED, *run_dir, "--trainer.max_epochs=1")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "accuracy 0." in done.stdout
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"results.json", "classes.csv", "confusion.png", "checkpoints", "csv"} <= names
    done = run(root, *REDUCED, *run_dir, "--trainer.max_epochs=2", "--ckpt_path=last")
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["epochs"] == 2
    assert results["test_images"] == 40
    steps = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert steps[-1] == "step-00000010.ckpt"  # 160 images, 2 epochs of 5 steps of 32


@pytest.mark.slow
def test_unknown_keys_suggest_the_nearest(root: Path, tmp_path: Path) -> None:
    done = run(root, *REDUCED, "--model.layer_decai=0.5", "--run_dir", str(tmp_path / "run"))
    assert done.returncode != 0
    assert "layer_decay" in done.stderr
    assert not (tmp_path / "run").exists()
    done = run(root, "--model.backbone=random:resnet18", f"--data.root={tmp_path / 'none'}")
    assert done.returncode != 0
    assert "none does not exist" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_is_there_at_once(root: Path) -> None:
    done = run(root, "--help")
    assert done.returncode == 0
    assert "--model.backbone" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ucm", "aid", "resisc45", "rsscn7", "eurosat", "millionaid"])
def test_configurations_are_understood(name: str, root: Path) -> None:
    config = str(root / f"configs/classification/{name}.yaml")
    done = run(root, "--config", config, "--model.backbone=random:resnet50", "--print_config")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "base_lr: 0.05" in done.stdout
