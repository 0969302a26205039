"""Which method a command line names, and what becomes of its options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cmid.methods import CMID, PretrainMethod
from cmid.methods.base import Losses
from cmid.methods.choice import choose_method, import_method
from cmid.models import MaskedEncoder
from cmid.pretraining import PretrainCLI
from cmid.views import Views

MINE = f"{__name__}.Mine"


class Mine(PretrainMethod):
    """A method of a user's own package."""

    def __init__(
        self, backbone: str = "resnet18", *, temperature: float = 0.5, **common: Any
    ) -> None:
        super().__init__(backbone, **common)
        self.temperature = temperature

    def encoders(self) -> dict[str, MaskedEncoder]:
        return {}

    def losses(self, views: Views) -> Losses:
        raise NotImplementedError


class Closed(Mine):
    """Takes nothing of what every method takes."""

    def __init__(self, temperature: float = 0.5) -> None:
        super().__init__(temperature=temperature)


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def content(argument: str) -> dict[str, Any]:
    option, _, value = argument.partition("=")
    assert option == "--config"
    return json.loads(value)


def test_without_a_class_it_is_cmid_and_files_without_a_model_stay_files(tmp_path: Path) -> None:
    data = write(tmp_path / "data.yaml", "data: {batch_size: 4}\n")
    choice = choose_method(["--config", data, "--model.queue_size", "8", "--print_config"])
    assert choice.method is CMID
    assert choice.arguments == [f"--config={data}", "--model.queue_size=8", "--print_config"]


def test_flat_options_of_cmid_keep_their_numbers(tmp_path: Path) -> None:
    text = "model: {queue_size: 9, optimizer: {base_lr: 4.0e-3, min_lr: 1e-6}}\n"
    config = write(tmp_path / "cmid.yaml", text)
    assert choose_method(["--config", config]).arguments == [f"--config={config}"]
    choice = choose_method(["--config", config, "--model", MINE])
    optimizer = {"base_lr": 4e-3, "min_lr": 1e-6}
    assert content(choice.arguments[0])["model"] == {"optimizer": optimizer}


@pytest.mark.parametrize("form", ["nested", "flat"])
def test_class_of_a_file_with_and_without_init_args(form: str, tmp_path: Path) -> None:
    options = "init_args: {temperature: 0.2}" if form == "nested" else "temperature: 0.2"
    config = write(tmp_path / "mine.yaml", f"model: {{class_path: {MINE}, {options}}}\n")
    choice = choose_method(["--config", config, "--model.init_args.seed", "3"])
    assert (choice.class_path, choice.method.__name__) == (MINE, "Mine")
    assert content(choice.arguments[0])["model"] == {"temperature": 0.2}
    assert choice.arguments[1:] == ["--model.seed=3"]


@pytest.mark.parametrize("option", ["--model", "--model.class_path"])
def test_file_of_another_method_gives_what_both_take(option: str, tmp_path: Path) -> None:
    text = "model: {backbone: resnet50, temperature: 0.3, queue_size: 9, weights: {local: 0}}\n"
    config = write(tmp_path / "cmid.yaml", text)
    choice = choose_method(["--config", config, option, MINE])
    assert content(choice.arguments[0])["model"] == {"backbone": "resnet50", "temperature": 0.3}
    assert choice.ignored == {config: ["queue_size", "weights"]}
    # What no method knows is left for the parser to refuse.
    config = write(tmp_path / "wrong.yaml", "model: {bakbone: resnet50}\n")
    assert choose_method(["--config", config, option, MINE]).arguments == [f"--config={config}"]


def test_printed_configuration_is_one_of_the_method_alone(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    default = root / "configs/pretrain/cmid_resnet18_scenes.yaml"
    temperature = yaml.safe_load(default.read_text())["model"]["temperature"]
    with pytest.raises(SystemExit):
        PretrainCLI([f"--config={default}", f"--model.class_path={MINE}", "--print_config"])
    printed = capsys.readouterr().out
    model = yaml.safe_load(printed)["model"]
    assert (model["class_path"], model["temperature"]) == (MINE, temperature)
    assert "queue_size" not in model
    choice = choose_method(["--config", write(tmp_path / "mine.yaml", printed)])
    assert (choice.class_path, choice.ignored) == (MINE, {})


@pytest.mark.parametrize(
    ("class_path", "expected"),
    [
        ("CMID", "whole import path, such as cmid.methods.CMID"),
        ("cmid.methods.CMDI", "Did you mean: cmid.methods.CMID?"),
        ("no_such_package.Mine", "no module no_such_package; is its folder on PYTHONPATH"),
        ("cmid.models.MaskedEncoder", "no subclass of cmid.methods.PretrainMethod"),
        (f"{__name__}.Closed", "does not take img_size, in_chans, statistics, seed"),
    ],
)
def test_what_is_no_method_is_refused_with_the_remedy(class_path: str, expected: str) -> None:
    with pytest.raises(ValueError, match=r"model\.class_path") as refused:
        import_method(class_path)
    assert expected in str(refused.value)
