"""A measure that fails costs no other its score."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image as PillowImage

from cmid.evaluation import MeasureConfig, comparison, evaluate, tasks
from cmid.evaluation.config import ComparisonConfig
from cmid.evaluation.linear import few_shot_accuracy, linear_probe
from cmid.evaluation.tasks import TASKS, measure


def features(labels: list[int] | torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    numbers = torch.as_tensor(labels)
    return torch.randn(len(numbers), 8, generator=torch.Generator().manual_seed(0)), numbers


def test_few_images_of_a_class_leave_out_what_needs_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = features([0] * 20 + [1] * 9)
    with caplog.at_level(logging.WARNING):
        scores = evaluate(data, data, list(TASKS), MeasureConfig(seeds=2))
    assert {"knn", "linear", "1-shot", "5-shot", "recall@1", "NMI"} <= scores.keys()
    assert "10-shot" not in scores
    assert "10-shot left out: 10 shots need 10 images of every class, one has 9" in caplog.text


@pytest.mark.parametrize(
    ("train", "test", "kept", "lost"),
    [
        ([0, 1, 2], [0, 1, 2], {"knn", "linear", "1-shot", "mAP", "NMI"}, {"5-shot"}),
        ([3] * 6, [3] * 4, {"knn", "mAP"}, {"linear", "1-shot", "5-shot", "clustering"}),
        ([0, 20] * 5, [0, 0], {"knn", "linear", "5-shot", "mAP"}, {"clustering"}),
        ([0, 0, 1, 1], [2, 2], {"knn", "linear", "1-shot"}, {"retrieval", "clustering", "5-shot"}),
        ([0], [0, 1], {"knn"}, {"linear", "5-shot"}),
    ],
)
def test_each_kind_of_want_costs_its_own_measure_only(
    train: list[int], test: list[int], kept: set[str], lost: set[str]
) -> None:
    found = measure(
        features(train), features(test), list(TASKS), MeasureConfig(shots=(1, 5), seeds=2)
    )
    assert kept <= found.scores.keys()
    assert lost <= found.left_out.keys()
    assert found.error is None
    assert all(map(torch.isfinite, map(torch.tensor, found.scores.values())))


def test_numbers_of_classes_with_gaps_are_counted_rightly() -> None:
    with pytest.raises(ValueError, match="3 shots need 3 images of every class, one has 2"):
        few_shot_accuracy(features([0, 0, 5, 5, 5]), features([0, 5]), shots=3)


def test_nothing_that_could_be_measured_is_an_error() -> None:
    data = features([0, 1])
    with pytest.raises(ValueError, match="nothing could be measured: 5-shot: 5 shots need"):
        evaluate(data, data, ["fewshot"], MeasureConfig(shots=(5,)))
    with pytest.raises(ValueError, match="1 of 2 images have no label"):
        evaluate(data, features([0, -1]), ["knn"])
    with pytest.raises(ValueError, match="has no image"):
        evaluate(data, features(torch.zeros(0, dtype=torch.long)), ["knn"])


def test_a_label_that_is_never_positive_is_left_out_and_none_at_all_is_told() -> None:
    rows = torch.tensor([[1, 0, 0], [0, 1, 0]] * 5)
    found = measure(features(rows), features(rows), ["knn", "linear", "retrieval"])
    assert 0 < found.scores["knn mAP"] <= 1
    with pytest.raises(ValueError, match="could be measured: knn: no image has any label"):
        measure(features(rows), features(rows * 0), ["knn", "retrieval", "linear"])


def test_a_validation_part_without_labels_still_chooses() -> None:
    rows = torch.zeros(10, 2, dtype=torch.long)
    rows[0, 0] = rows[1, 1] = 1
    for seed in range(4):
        logits, strength = linear_probe(features(rows), torch.zeros(1, 8), seed=seed)
        assert torch.isfinite(logits).all()
        assert strength > 1e-6  # ten images, eight features: the weakest one overfits


def arguments(folder: Path, **more: Any) -> ComparisonConfig:
    options = {
        "backbones": ("random:resnet18",),
        "data": str(folder),
        "size": 32,
        "shots": (1, 10),
        "seeds": 2,
        "batch_size": 8,
        "cache": str(folder.parent / "cache"),
        "out": str(folder.parent / "scores.json"),
    }
    return ComparisonConfig(**{**options, **more})


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        for number in range(5):
            path = tmp_path / "images" / name / f"{name}{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            PillowImage.new("RGB", (32, 32), (60 * number, 9, 90 * (name == "a"))).save(path)
    return tmp_path / "images"


def test_the_file_of_scores_has_what_could_be_measured(
    images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    comparison.compare_backbones(arguments(images))
    content = json.loads((images.parent / "scores.json").read_text())
    assert {"knn", "linear", "1-shot", "NMI"} <= content["results"]["random:resnet18"].keys()
    assert "one has 4" in content["left_out"]["random:resnet18"]["10-shot"]
    output = capsys.readouterr()
    assert "| random:resnet18 |" in output.out
    assert "LEFT OUT: random:resnet18, 10-shot: 10 shots need" in output.err


def test_an_unexpected_failure_is_raised_behind_the_scores(
    images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any) -> dict[str, float]:
        raise RuntimeError("no such kernel")

    monkeypatch.setitem(tasks.TASKS, "linear", broken)
    with pytest.raises(RuntimeError, match="no such kernel"):
        comparison.compare_backbones(arguments(images, shots=(1,)))
    content = json.loads((images.parent / "scores.json").read_text())
    assert {"knn", "1-shot", "NMI"} <= content["results"]["random:resnet18"].keys()
    assert "no such kernel" in content["left_out"]["random:resnet18"]["linear"]
    assert "| random:resnet18 |" in capsys.readouterr().out
    assert len(list((images.parent / "cache").glob("*.safetensors"))) == 2


def test_a_backbone_that_does_not_exist_costs_the_others_nothing(images: Path) -> None:
    specs = ("random:resnet18", str(images.parent / "gone"))
    with pytest.raises((FileNotFoundError, ValueError), match="gone"):
        comparison.compare_backbones(arguments(images, backbones=specs, tasks=("knn",)))
    content = json.loads((images.parent / "scores.json").read_text())
    assert content["results"]["random:resnet18"]["knn"] >= 0


def test_stages_tell_what_they_know_and_whether_they_collapsed(
    images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    comparison.compare_backbones(arguments(images, tasks=("stages",)))
    scores = json.loads((images.parent / "scores.json").read_text())["results"]["random:resnet18"]
    for number in (1, 2, 3, 4):
        assert 0 <= scores[f"stage {number} knn"] <= 1
        assert 0 <= scores[f"stage {number} effective rank"] <= 2  # of two test images
    assert "stage 4 relative std" in capsys.readouterr().out


def test_the_file_of_scores_is_not_named_as_one_that_comes_beside_it() -> None:
    with pytest.raises(ValueError, match=r"--out a\.csv: name the JSON file"):
        ComparisonConfig(("random:resnet18",), "scenes", out="a.csv")


def test_another_call_is_compared_with_on_the_same_images_only(
    images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    comparison.compare_backbones(arguments(images, tasks=("knn",)))
    earlier = (str(images.parent / "scores.json"),)
    again = arguments(images, tasks=("knn",), earlier=earlier, out=str(images.parent / "new.json"))
    comparison.compare_backbones(again)
    printed = capsys.readouterr().out
    assert f"| random:resnet18 ({earlier[0]}) - random:resnet18 | tie [" in printed
    with pytest.raises(ValueError, match="is of other test images"):
        comparison.compare_backbones(arguments(images, seed=1, earlier=earlier))


def test_default_tasks_with_several_labels_leave_out_what_needs_one(images: Path) -> None:
    rows = [f"{name}{number},1,{number % 2}" for name in "ab" for number in range(5)]
    (images.parent / "labels.csv").write_text("\n".join(["image,sea,car", *rows]))
    comparison.compare_backbones(arguments(images, multilabel=str(images.parent / "labels.csv")))
    content = json.loads((images.parent / "scores.json").read_text())
    assert {"knn mAP", "linear mAP"} <= content["results"]["random:resnet18"].keys()
    assert content["left_out"]["random:resnet18"]["fewshot"] == "it needs one label an image"
