"""The command that trains a scorer, as a user runs it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = [
    ROOT / f"configs/scoring/{name}.yaml"
    for name in ("dual_encoder_scenes", "scorers_stage1", "scorers_stage2", "scorers_stage3")
]


@pytest.fixture
def reduced(tiny_clip: str) -> list[str]:
    """The default in small."""
    return [
        "--config",
        str(ROOT / "configs/scoring/dual_encoder_scenes.yaml"),
        "--data.source.init_args.num_images=24",
        "--data.source.init_args.size=32",
        "--held_out.source.init_args.num_images=20",
        "--held_out.source.init_args.size=32",
        "--held_out.every_n_steps=2",
        "--data.batch_size=8",
        f"--model.start.clip={tiny_clip}",
        "--trainer.max_epochs=2",
        "--trainer.log_every_n_steps=1",
        "--checkpoints.every_n_steps=2",
    ]


@pytest.mark.slow
def test_a_run_leaves_a_scorer_and_a_resumed_one_the_same_weights(
    reduced: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("open_clip", reason="extra vision-language is not installed")
    from cmid.vision_language.scoring.storage import load_scorer
    from cmid.vision_language.scoring.training import train_scorer

    monkeypatch.chdir(ROOT)
    scorer = load_scorer(train_scorer([*reduced, "--run_dir", str(tmp_path / "whole")]))
    printed = capsys.readouterr().out
    assert "step 2: held-out accuracy 0." in printed
    assert "(at the start: 0." in printed
    told = json.loads((tmp_path / "whole/held_out.json").read_text())
    assert 0 <= told["overall"] <= 1
    assert told["kinds"].keys() > {"count", "mismatch", "truncated"}
    assert (tmp_path / "whole/curves.png").read_bytes().startswith(b"\x89PNG")
    # The state after step 2 of 6, in the middle of an epoch, is all that a killed run leaves.
    cut = tmp_path / "cut/checkpoints"
    cut.mkdir(parents=True)
    kept = sorted((tmp_path / "whole/checkpoints").glob("*.ckpt"))
    shutil.copy(kept[0], cut)
    assert kept[0].name == "step-00000002.ckpt"
    run_dir = ["--run_dir", str(tmp_path / "cut"), "--ckpt_path", "last"]
    resumed = load_scorer(train_scorer([*reduced, *run_dir]))
    for (name, tensor), other in zip(
        scorer.state_dict().items(), resumed.state_dict().values(), strict=True
    ):
        assert torch.equal(tensor, other), name


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_configurations_are_valid(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from cmid.vision_language.scoring.training import train_scorer

    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as end:
        train_scorer(["--config", str(config), "--print_config"])
    assert end.value.code == 0
    assert "grad_checkpointing:" in capsys.readouterr().out
    assert "# Command:" in config.read_text().partition("run_dir:")[0]
