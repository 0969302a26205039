"""Curves of label efficiency on generated images, with a tiny network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from cmid.evaluation import comparison, training
from cmid.evaluation.config import ComparisonConfig, LabelConfig
from cmid.evaluation.results import read_results
from cmid.export import to_timm
from cmid.models import MaskedEncoder
from cmid.visualization.scores import label_figure


@pytest.fixture
def coloured(tmp_path: Path) -> Path:
    """Two classes of two colours with noise."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 12), ("val", 20)):
        for number in range(2 * count):
            pixels = rng.integers(60, 140, (32, 32, 3))
            pixels[..., number % 2] += 50
            path = tmp_path / "data" / part / "ab"[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            PillowImage.fromarray(pixels.astype(np.uint8)).save(path)
    return tmp_path / "data"


def test_curves_of_a_backbone_beside_random_weights_go_on_where_they_stopped(
    coloured: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    torch.manual_seed(7)  # not those of random weights
    backbone = str(to_timm(MaskedEncoder("test_resnet", img_size=32), tmp_path / "backbone"))
    config = ComparisonConfig(
        backbones=(backbone, "random:test_resnet"),
        data=str(coloured),
        seeds=3,
        accelerator="cpu",
        size=32,
        cache=str(tmp_path / "cache"),
        out=str(tmp_path / "curve.json"),
    )
    curves = LabelConfig(labels=("1", "all"), draws=2, steps=6, train_batch=8)
    comparison.compare_backbones(config, curves=curves)
    content = json.loads((tmp_path / "curve.json").read_text())
    random = "random weights of test_resnet"
    assert [*content["results"]] == [
        f"{backbone}, frozen",
        f"{backbone}, fine-tuned",
        f"{random}, frozen",
        f"{random}, from scratch",
    ]
    for scores in content["results"].values():
        assert [*scores] == ["1 label", "all labels"]
        assert 0.6 < scores["all labels"] <= 1
    assert content["labels"] == {"1 label": 1, "all labels": 12}
    assert len(content["differences"]) == 6 * 2
    printed = capsys.readouterr().out
    assert f"| {random}, from scratch  " in printed
    assert len(label_figure(read_results(tmp_path / "curve.json")).axes[0].containers) == 4

    def never(*_: object, **__: object) -> None:
        raise AssertionError("this was trained before")

    monkeypatch.setattr(training, "train_and_test", never)
    comparison.compare_backbones(config, curves=curves)
    assert json.loads((tmp_path / "curve.json").read_text()) == content


def test_more_labels_than_there_are_is_one_line(coloured: Path) -> None:
    config = ComparisonConfig(
        backbones=("random:test_resnet",), data=str(coloured), accelerator="cpu", size=32
    )
    with pytest.raises(ValueError, match="--labels 13 needs 13 images of every class, one has 12"):
        comparison.compare_backbones(config, curves=LabelConfig(labels=("13",)))
