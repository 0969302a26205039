"""The benchmark scripts run and report all their rows; what they measure is not asserted."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from cmid.data import SceneSource


def run(monkeypatch: pytest.MonkeyPatch, module: str, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    importlib.import_module(f"benchmarks.{module}").main()


def test_training_step_reports_the_ratio_to_the_floor(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "step.json"
    run(
        monkeypatch,
        "speed.training_step",
        *["--backbone", "vit_tiny_patch16_224", "--batch", "2", "--size", "64"],
        *["--pairs", "1", "--device", "cpu", "--out", str(out)],
    )
    rows = json.loads(out.read_text())["rows"]
    assert [row["backbone"] for row in rows] == ["vit_tiny_patch16_224"]
    for row in rows:
        assert row["step / floor"] == pytest.approx(row["step s"] / row["floor s"])
        assert 0 < row["EMA + optimizer share"] < 1
    assert "| step / floor |" in capsys.readouterr().out


def test_data_pipeline_compares_four_pipelines(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    out = tmp_path / "data.json"
    arguments = ["--images", "2", "--rounds", "1", "--size", "256", "--out", str(out)]
    run(monkeypatch, "speed.data_pipeline", *arguments)
    rows = json.loads(out.read_text())["rows"]
    assert len(rows) == 4
    assert rows[0]["ratio to the first"] == 1
    assert all(row["images / CPU-second"] > 0 for row in rows)


@pytest.mark.slow
def test_memory_runs_every_case_in_its_own_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    out = tmp_path / "memory.json"
    arguments = ["--backbone", "resnet18", "--batch", "2", "--size", "64", "--precision", "fp32"]
    run(monkeypatch, "speed.memory", *arguments, "--device", "cpu", "--out", str(out))
    rows = json.loads(out.read_text())["rows"]
    assert [row["checkpointing"] for row in rows] == [False, True]
    assert all(0.1 < row["peak GiB"] < 8 for row in rows)


def test_colour_baseline_scores_a_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split, seed in (("train", 0), ("val", 1)):
        source = SceneSource(30, size=32, seed=seed)
        for i in range(30):
            image = source.read(i)
            folder = tmp_path / split / source.classes[image.label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.pixels.permute(1, 2, 0).numpy()).save(folder / f"{i}.png")
    paths = [str(tmp_path / "train"), str(tmp_path / "val")]
    run(monkeypatch, "classification.colour_baseline", *paths, "--k", "5")
    accuracy = float(capsys.readouterr().out.rsplit(":", 1)[1])
    assert 0 <= accuracy <= 1


def test_a_multimodal_step_and_answers_are_timed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("transformers", reason="extra multimodal is not installed")
    out = tmp_path / "step.json"
    small = ["--backbone", "random:test_resnet", "--language", "tiny:llama:32x1", "--size", "32"]
    few = ["--batch", "2", "--asked", "2", "--tokens", "2", "--pairs", "1", "--device", "cpu"]
    ways = ["--attention", "sdpa", "eager", "--precision", "bf16"]
    run(monkeypatch, "speed.multimodal", *small, *few, *ways, "--out", str(out))
    step, eager = json.loads(out.read_text())["rows"]
    assert (step["attention"], eager["attention"]) == ("sdpa", "eager")
    assert step["step / first"] == 1
    assert eager["step / first"] == pytest.approx(eager["step s"] / step["step s"])
    beyond = (step["step s"] - step["tower s"]) / step["language model alone s"]
    assert step["(step - tower) / language model"] == pytest.approx(beyond)
    single, together = json.loads((tmp_path / "step.answers.json").read_text())["rows"]
    assert (single["answered"], together["answered"]) == ("one by one", "2 together")
    assert single["tokens"] == together["tokens"] > 0
