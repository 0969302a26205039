"""Curves of label efficiency on generated images, with a tiny network."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from PIL import Image as PillowImage

from cmid.evaluation import comparison, training
from cmid.evaluation.config import ComparisonConfig, LabelConfig
from cmid.evaluation.results import read_results
from cmid.evaluation.score import Score
from cmid.export import to_timm
from cmid.models import MaskedEncoder
from cmid.visualization.scores import label_figure
from tests.together import run_together


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


def test_tasks_beside_labels_are_refused(coloured: Path) -> None:
    config = ComparisonConfig(("random:test_resnet",), str(coloured), tasks=("knn",))
    with pytest.raises(ValueError, match="--labels measures accuracy in place of --tasks"):
        comparison.compare_backbones(config, curves=LabelConfig(labels=("1",)))


@pytest.mark.parametrize(
    ("precision", "dtype"), [("bf16-mixed", torch.bfloat16), ("16-mixed", torch.float16)]
)
def test_trainings_are_of_the_precision_that_was_asked_for(
    precision: Any, dtype: torch.dtype, coloured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, train = set(), training.train_and_test

    def watched(backbone: Any, *args: Any, **options: Any) -> torch.Tensor:
        network = backbone.encoder.backbone
        network.register_forward_hook(lambda *given: found.add(given[2].dtype))
        return train(backbone, *args, **options)

    monkeypatch.setattr(training, "train_and_test", watched)
    config = ComparisonConfig(
        backbones=("random:test_resnet",),
        data=str(coloured),
        accelerator="cpu",
        size=32,
        precision=precision,
    )
    curves = LabelConfig(labels=("all",), draws=1, steps=2, train_batch=8)
    comparison.compare_backbones(config, curves=curves)
    assert found == {dtype}


def _share_draws(rank: int, folder: Path) -> None:
    # A group that gives up sooner than the first process has trained.
    dist.init_process_group("gloo", timeout=timedelta(seconds=10))

    def slow(*_: Any, seed: int, **__: Any) -> torch.Tensor:
        first = not list(folder.glob(f"trained-{rank}-*"))
        (folder / f"trained-{rank}-{seed}").touch()
        time.sleep(15 if rank == 0 and first else 0)
        return torch.arange(40) < 10 * (seed + 1)

    training.train_and_test = slow  # type: ignore[assignment]
    config = ComparisonConfig(
        backbones=("random:test_resnet", "random:resnet18"),
        data=str(folder / "data"),
        seeds=3,
        accelerator="cpu",
        devices="2",
        size=32,
        out=str(folder / "curve.json"),
    )
    comparison.compare_backbones(config, curves=LabelConfig(labels=("1",), draws=3))


@pytest.mark.slow
def test_processes_share_the_draws_and_wait_for_each_other(coloured: Path, tmp_path: Path) -> None:
    assert run_together(_share_draws, tmp_path) == [0, 0]
    trained = sorted(path.name for path in tmp_path.glob("trained-*"))
    assert trained == ["trained-0-0", "trained-0-2", "trained-1-1"]
    found = read_results(tmp_path / "curve.json").found
    score = found["random weights of test_resnet, from scratch"]["1 label"]
    assert isinstance(score, Score)
    assert score.rows.sum(axis=0).tolist() == [10, 20, 30]
