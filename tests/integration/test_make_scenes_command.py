from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.in_process import Outcome, run

LAYOUTS = {
    "classification": ("train/*/*.png", "val/*/*.png"),
    "segmentation": ("img_dir/train/*.png", "ann_dir/val/*.png"),
    "detection": ("train/*.png", "val/*.png"),
    "oriented_detection": ("train/images/*.png", "val/labelTxt/*.txt"),
    "change_detection": ("train/A/*.png", "val/label/*.png"),
}


def make_scenes(*arguments: str) -> Outcome:
    return run("tools/make_scenes.py", *arguments)


@pytest.mark.parametrize("task", LAYOUTS)
def test_every_task_has_its_layout(tmp_path: Path, task: str) -> None:
    out = tmp_path / "scenes"
    size = ["--train", "3", "--val", "2", "--size", "32"]
    done = make_scenes("--task", task, "--out", str(out), *size)
    assert done.status == 0, done.err
    train, val = LAYOUTS[task]
    assert len(list(out.glob(train))) == 3
    assert len(list(out.glob(val))) == 2
    assert not list(out.rglob("*.part"))


def test_options_that_do_not_fit_are_named(tmp_path: Path) -> None:
    done = make_scenes("--task", "classification", "--bands", "4", "--out", str(tmp_path))
    assert done.status == 2
    assert "--bands does not go with the task classification" in done.err
    done = make_scenes("--task", "segmentation", "--size", "8", "--out", str(tmp_path / "out"))
    assert done.status == 1
    assert done.err.strip().splitlines()[-1].startswith("error: ")
