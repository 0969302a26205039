"""The command that trains a CLIP, as a user runs it."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "configs/vision_language").glob("*.yaml"))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools/train_clip.py"), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)


def test_help_is_there_at_once() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = run("--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert result.returncode == 0
    for option in ("--config", "--ckpt_path", "--model.clip.backbone", "--model.distillation"):
        assert option in result.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2


@pytest.fixture
def reduced(tiny_clip_64: str) -> list[str]:
    """The default in small, with all three losses."""
    return [
        "--data.source.init_args.num_images=32",
        "--data.view.init_args.regions=annotated",
        "--data.batch_size=8",
        "--data.num_workers=0",
        f"--model.clip.name={tiny_clip_64}",
        "--model.weights.region_text=1",
        "--trainer.max_epochs=2",
        "--trainer.log_every_n_steps=1",
        "--checkpoints.every_n_steps=3",
        "--zero_shot.source.init_args.num_images=20",
    ]


@pytest.mark.slow
def test_a_run_leaves_a_clip_and_a_resumed_one_the_same_weights(
    reduced: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("open_clip", reason="extra vision-language is not installed")
    from cmid.vision_language.clip.storage import load_clip
    from cmid.vision_language.training import train_clip

    monkeypatch.chdir(ROOT)
    config = ["--config", str(ROOT / "configs/vision_language/farslip_stage1_scenes.yaml")]
    folder = train_clip([*config, *reduced, "--run_dir", str(tmp_path / "whole")])
    clip = load_clip(folder)
    assert clip.encode_texts(["a ship"]).shape == (1, 32)
    assert (tmp_path / "whole/curves.png").read_bytes().startswith(b"\x89PNG")
    log = next((tmp_path / "whole").glob("csv/version_*/metrics.csv")).read_text()
    for name in ("loss/image_text", "loss/distillation", "loss/region_text", "zero_shot/top1"):
        assert name in log
    # The state after step 3 of 8, in the middle of an epoch, is all that a killed run leaves.
    cut = tmp_path / "cut/checkpoints"
    cut.mkdir(parents=True)
    shutil.copy(tmp_path / "whole/checkpoints/step-00000003.ckpt", cut)
    run_dir = ["--run_dir", str(tmp_path / "cut"), "--ckpt_path", "last"]
    resumed = load_clip(train_clip([*config, *reduced, *run_dir]))
    for (name, tensor), other in zip(
        clip.state_dict().items(), resumed.state_dict().values(), strict=True
    ):
        assert torch.equal(tensor, other), name


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_configurations_are_valid(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("open_clip", reason="extra vision-language is not installed")
    from cmid.vision_language.training import train_clip

    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as end:
        train_clip(["--config", str(config), "--print_config"])
    assert end.value.code == 0
    assert "distillation:" in capsys.readouterr().out
    head = config.read_text().partition("run_dir:")[0]
    assert "# Command:" in head


def test_wrong_keys_name_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("open_clip", reason="extra vision-language is not installed")
    from cmid.vision_language.training import train_clip

    with pytest.raises(SystemExit):
        train_clip(["--model.weights.distilation", "1"])
    assert "Did you mean: model.weights.distillation?" in capsys.readouterr().err
