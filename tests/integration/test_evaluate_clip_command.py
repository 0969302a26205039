from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.commands.evaluate_clip import main

ARCHITECTURE = {
    "embed_dim": 16,
    "vision_cfg": {
        "image_size": 32,
        "layers": 1,
        "width": 16,
        "head_width": 8,
        "patch_size": 8,
    },
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49408,
        "width": 16,
        "heads": 2,
        "layers": 1,
    },
}


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "tools/evaluate_clip.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=root)


def test_help_and_errors_are_short(root: Path) -> None:
    done = run(root, "--help")
    assert done.returncode == 0
    assert "--suite" in done.stdout
    for arguments in ([], ["--suite", "scenes", "--model", "x"], ["zero_shot", "scenes"]):
        done = run(root, *arguments)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr


def test_the_suite_of_scenes_writes_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("open_clip", reason="extra vision-language is not installed")
    model = tmp_path / "tiny.json"
    model.write_text(json.dumps(ARCHITECTURE))
    out = tmp_path / "out"
    options = ["--scenes", "10", "--scene_size", "48", "--pictures", "1", "--device", "cpu"]
    arguments = ["--suite", "scenes", "--model", str(model), "--out", str(out), *options]
    main(arguments)
    assert "top-1" in capsys.readouterr().out
    results = json.loads((out / "results.json").read_text())
    assert len(results["evaluations"]) == 4
    measures = results["evaluations"][0]["models"][str(model)]["measures"]
    assert 0 <= measures["top-1"] <= 1
    assert len([*(out / "pictures").rglob("*.png")]) == 1
    assert "tools/evaluate_clip.py --suite scenes --model" in (out / "report.md").read_text()
    assert "open-vocabulary segmentation" in (out / "report.html").read_text()
