from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LAYOUTS = {
    "classification": ("train/*/*.png", "val/*/*.png"),
    "segmentation": ("img_dir/train/*.png", "ann_dir/val/*.png"),
    "detection": ("train/*.png", "val/*.png"),
    "oriented_detection": ("train/images/*.png", "val/labelTxt/*.txt"),
    "change_detection": ("train/A/*.png", "val/label/*.png"),
}


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "tools/make_scenes.py"), *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True)


@pytest.mark.parametrize("task", LAYOUTS)
def test_every_task_has_its_layout(root: Path, tmp_path: Path, task: str) -> None:
    out = tmp_path / "scenes"
    size = ["--train", "3", "--val", "2", "--size", "32"]
    done = run(root, "--task", task, "--out", str(out), *size)
    assert done.returncode == 0, done.stderr
    train, val = LAYOUTS[task]
    assert len(list(out.glob(train))) == 3
    assert len(list(out.glob(val))) == 2
    assert not list(out.rglob("*.part"))


def test_options_that_do_not_fit_are_named(root: Path, tmp_path: Path) -> None:
    done = run(root, "--task", "detection", "--bands", "4", "--out", str(tmp_path))
    assert done.returncode == 2
    assert "--bands goes with the tasks segmentation and change_detection" in done.stderr
    done = run(root, "--task", "segmentation", "--size", "8", "--out", str(tmp_path / "out"))
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("make_scenes: ")
