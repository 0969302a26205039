"""Test images that were learned from are found, named and dropped."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from cmid.data import SceneSource
from cmid.evaluation.comparison import compare_backbones
from cmid.evaluation.config import ComparisonConfig


def picture(scenes: SceneSource, index: int) -> PillowImage.Image:
    return PillowImage.fromarray(scenes[index].pixels.permute(1, 2, 0).numpy())


def saved(image: PillowImage.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def compare(data: Path, *, out: Path, **options: Any) -> dict[str, Any]:
    given = {"backbones": ("random:test_resnet",), "data": str(data), "size": 32, "out": str(out)}
    compare_backbones(ComparisonConfig(**given | {"accelerator": "cpu"} | options))
    return json.loads(out.read_text())


def test_planted_copies_are_counted_named_and_dropped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenes, data, out = (
        SceneSource(40, size=96, seed=5),
        tmp_path / "data",
        tmp_path / "scores.json",
    )
    for index in range(24):
        saved(picture(scenes, index), data / "train" / "ab"[index % 2] / f"{index}.png")
    for index in range(24, 34):
        saved(picture(scenes, index), data / "val" / "ab"[index % 2] / f"{index}.png")
    for index in range(30, 40):
        saved(picture(scenes, index), tmp_path / "pretraining" / f"{index}.png")
    turned = picture(scenes, 3).transpose(PillowImage.Transpose.ROTATE_90)
    saved(turned, data / "val/b/turned.jpg")
    saved(picture(scenes, 3), data / "val/b/same.png")
    saved(picture(scenes, 3).crop((4, 5, 92, 90)), tmp_path / "pretraining/own.png")
    content = compare(
        data, out=out, tasks=("knn",), drop_leaks=True, pretraining=str(tmp_path / "pretraining")
    )
    printed = capsys.readouterr().out
    assert "leaks: 2 of 12 test images are near-duplicates of training images" in printed
    assert re.search(r"val/b/turned\.jpg is \S+/train/b/3\.png \(", printed)
    assert "leaks: 6 of 12 test images are near-duplicates of pretraining images" in printed
    assert "leaks: 1 of 24 training images are near-duplicates of pretraining images" in printed
    assert re.search(r"train/b/3\.png is \S+/pretraining/own\.png \(", printed)
    (twin,) = content["leaks"]["pretraining of training"]
    assert twin["training"].endswith("train/b/3.png")
    assert twin["learned"].endswith("own.png")
    assert "6 test images are left out, 6 are measured" in printed
    assert content["test_images"] == 6
    named = {Path(twin["test"]).name for twin in content["leaks"]["training"]}
    assert named == {"same.png", "turned.jpg"}
    whole = compare(data, out=out, tasks=("knn",), leaks=True)
    assert whole["test_images"] == 12
    assert [*whole["leaks"]] == ["training"]
    assert whole["test_digest"] != content["test_digest"]


def test_copies_among_images_with_masks_are_found(tmp_path: Path) -> None:
    scenes, data = SceneSource(9, size=96, seed=5), tmp_path / "data"
    for index in range(10):
        part = "train" if index < 6 else "val"
        saved(picture(scenes, index % 9), data / "img_dir" / part / f"{index}.png")
        mask = np.zeros((96, 96), np.uint8)
        mask[: 20 + index] = 1
        saved(PillowImage.fromarray(mask), data / "ann_dir" / part / f"{index}.png")
    content = compare(data, out=tmp_path / "scores.json", num_classes=2, drop_leaks=True)
    assert content["test_images"] == 3
    assert content["leaks"]["training"][0]["test"].endswith("9.png")
