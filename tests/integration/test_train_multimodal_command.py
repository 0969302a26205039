"""The command that trains a multimodal model, as a user runs it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

pytest.importorskip("transformers", reason="extra multimodal is not installed")

from cmid.multimodal import load
from cmid.multimodal.training import train_multimodal
from cmid.optimization import OptimizerConfig, scaled_lr
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


@dataclass(frozen=True)
class Published:
    """A stage of the papers: rates are of the highest and the lowest step."""

    trained: tuple[str, ...]
    rate: float
    least: float
    warmup: tuple[int, float]  # steps, and the factor of the first
    decay: float
    clip: float
    batch: int
    template: str


TABLE = {
    "lhrs_bot_stage1": Published(("perceiver",), 2e-4, 2e-5, (300, 0.1), 0, 0.3, 64, "plain"),
    "lhrs_bot_stage2": Published(
        ("perceiver", "adapter"), 2e-4, 8e-5, (100, 0.01), 0, 1, 32, "llama2"
    ),
    "lhrs_bot_stage3": Published(("adapter",), 1e-4, 8e-5, (100, 0.01), 0, 1, 32, "llama2"),
    "lhrs_bot_nova_stage1": Published(
        ("tower", "perceiver"), 2e-4, 2e-5, (300, 0.1), 0, 1, 128, "plain"
    ),
    "lhrs_bot_nova_stage2": Published(
        ("perceiver", "adapter"), 1e-4, 2e-5, (100, 0.1), 0.01, 1, 64, "llama3"
    ),
    "lhrs_bot_nova_stage3": Published(
        ("perceiver", "adapter"), 1e-4, 2e-5, (1, 0.1), 0.01, 1, 64, "llama3"
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_stages_are_those_of_the_papers(name: str) -> None:
    config = yaml.safe_load((ROOT / f"configs/multimodal/{name}.yaml").read_text())
    model, trainer = config["model"], config["trainer"]
    optimizer, stage = OptimizerConfig(**model["optimizer"]), model["stage"]
    batch = config["data"]["batch_size"] * trainer["devices"]
    template = (stage if "start" in model else model["network"])["template"]
    found = Published(
        tuple(stage["trained"]),
        scaled_lr(optimizer, batch),
        optimizer.min_lr,
        (optimizer.warmup_steps, optimizer.warmup_factor),
        optimizer.weight_decay,
        trainer["gradient_clip_val"],
        batch,
        template["name"],
    )
    assert replace(found, rate=pytest.approx(found.rate)) == TABLE[name]
    nova, number = "nova" in name, int(name[-1])
    assert stage.get("rates", {}) == ({"tower": 0.1} if nova and number == 1 else {})
    assert ("experts" in stage) == (nova and number == 2)  # handed on to stage 3
    assert stage.get("adapter") == (
        {"rank": 128, "alpha": 256, "dropout": 0.05} if number == 2 else None
    )
    assert trainer.get("max_steps") == (1200 if name == "lhrs_bot_stage3" else None)
    assert trainer["precision"] == "bf16-mixed"
    assert optimizer.eps == (1e-6 if nova else 1e-8)
    if number > 1:
        assert model["start"] == f"runs/{name[:-1]}{number - 1}/model"


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


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("--model.start", "runs/nope is no multimodal model: it has no config.json"),
        ("--model.network.language.name", "no model runs/nope: give a folder, or OWNER/NAME"),
        ("--model.network.language.tokenizer", "no model runs/nope: give a folder, or OWNER/NAME"),
    ],
)
def test_a_model_that_is_not_there_is_named_before_data_are_read(
    option: str, line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def texts(self: object) -> list[str]:
        raise AssertionError("data are read")

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("cmid.multimodal.data.SceneConversations.texts", texts)
    config = str(ROOT / "configs/multimodal/scenes.yaml")
    with pytest.raises(FileNotFoundError, match=line):
        train_multimodal(
            ["--config", config, option, "runs/nope", "--run_dir", str(tmp_path / "run")]
        )
    assert not (tmp_path / "run").exists()
