"""The command that trains a multimodal model, as a user runs it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("transformers", reason="extra multimodal is not installed")

from cmid.multimodal import load
from cmid.multimodal.training import train_multimodal
from tests.declared import ROOT

CONFIGS = sorted((ROOT / "configs/multimodal").glob("*.yaml"))
REDUCED = [
    *("--data.source.init_args.num_images=8", "--data.val_source.init_args.num_images=2"),
    *("--data.batch_size=4", "--data.num_workers=0", "--data.size=32", "--trainer.max_steps=2"),
    *("--data.source.init_args.size=32", "--final_questions=2"),
]
MODEL = [
    *("--model.network.tower.backbone=random:test_resnet", "--model.network.tower.size=32"),
    *("--model.network.perceiver.layers=1", "--model.network.language.name=tiny:llama:32x1"),
]


@pytest.mark.slow
def test_a_stage_starts_from_the_folder_of_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    config = ["--config", "configs/multimodal/scenes.yaml", *REDUCED]
    first = train_multimodal([*config, *MODEL, "--run_dir", str(tmp_path / "1")])
    printed = capsys.readouterr().out
    assert "right letter by letter" in printed
    assert re.search(r"choice +\| circular +\| 2", printed)
    assert f"chat.py {first}" in printed
    assert (tmp_path / "1/answers.png").is_file()
    assert len((tmp_path / "1/scores/predictions.jsonl").read_text().splitlines()) == 2 * 9 + 8
    assert len(load(first).generate(["What?"], max_tokens=2)) == 1
    stage = ["--model.stage.trained=[perceiver, adapter]", "--model.stage.adapter.rank=2"]
    second = train_multimodal(
        [
            *config,
            "--final_questions=0",
            "--model.start",
            str(first),
            *stage,
            "--run_dir",
            str(tmp_path / "2"),
        ]
    )
    assert "language: 0 of" in capsys.readouterr().out
    assert (second / "adapter").is_dir()
    assert (tmp_path / "2/checkpoints/step-00000002.ckpt").is_file()


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_configurations_are_valid(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as end:
        train_multimodal(["--config", str(config), "--print_config"])
    assert end.value.code == 0
    assert "share_prefix:" in capsys.readouterr().out
    head = config.read_text().partition("run_dir:")[0]
    assert "# Command:" in head
