"""Numbers and masks as tasks of the comparison of backbones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from sklearn.linear_model import Ridge

from cmid.data.segmentation import SegmentationFolder
from cmid.data.values import ValueKind
from cmid.evaluation.comparison import compare_backbones
from cmid.evaluation.config import ComparisonConfig
from cmid.evaluation.regression import fit_ridge, read_targets, ridge_probe


@pytest.mark.parametrize("count", [20, 80])
def test_ridge_has_the_minimum_of_scikit_learn(count: int) -> None:
    features, targets = torch.randn(count, 40).double(), torch.randn(count, 2).double() + 5
    ours = fit_ridge(features, targets, l2=0.03)
    reference = Ridge(alpha=0.03 * count).fit(features.numpy(), targets.numpy())
    np.testing.assert_allclose(ours.weight.numpy(), reference.coef_, atol=1e-6)
    np.testing.assert_allclose(ours.bias.numpy(), reference.intercept_, atol=1e-6)


def test_ridge_probe_chooses_what_generalises() -> None:
    weight = torch.randn(30, 1)
    train, test = torch.randn(60, 30), torch.randn(300, 30)
    noisy = (train @ weight + 4 * torch.randn(60, 1)).double()
    errors = {}
    for strengths in ((1e-6,), (1e3,), tuple(10.0**n for n in range(-6, 4))):
        predicted, chosen = ridge_probe((train, noisy), test, strengths=strengths)
        errors[len(strengths), chosen] = float((predicted - test @ weight).square().mean())
    best = errors.popitem()[1]
    assert best < min(errors.values())
    with pytest.raises(ValueError, match="the same number"):
        ridge_probe((train, torch.ones(60, 1)), test)


def compare(data: Path, **options: object) -> dict[str, dict[str, float]]:
    out = data.parent / "scores.json"
    given = {"backbones": ("random:test_resnet",), "data": str(data), "size": 32, "out": str(out)}
    compare_backbones(ComparisonConfig(**given | {"accelerator": "cpu"} | options))  # type: ignore[arg-type]
    content = json.loads(out.read_text())
    assert content["intervals"]["random:test_resnet"].keys() >= {"mIoU"} or "targets" in options
    return content["results"]["random:test_resnet"]


def test_brightness_of_images_without_classes_is_predicted(tmp_path: Path) -> None:
    rows = ["name,brightness,noise"]
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for number in range(50):
        grey = int(rng.integers(20, 230))
        pixels = rng.integers(grey - 20, grey + 20, (32, 32, 3)).astype(np.uint8)
        PillowImage.fromarray(pixels).save(tmp_path / f"images/{number}.png")
        rows.append(f"{number},{grey / 255},{rng.random()}")
    table = tmp_path / "numbers.csv"
    table.write_text("\n".join(rows))
    scores = compare(tmp_path / "images", targets=str(table))
    assert scores["R2 brightness"] > 0.9 > 0.3 > scores["R2 noise"]
    assert scores["RMSE brightness"] < 0.1
    with pytest.raises(ValueError, match=r"knn cannot be measured .*: numbers are no classes"):
        compare(tmp_path / "images", targets=str(table), tasks=("knn",))
    table.write_text("name,brightness\n0,bright\n")
    with pytest.raises(ValueError, match=r"numbers\.csv: 0\.png has \['bright'\]"):
        read_targets(table, ["0.png"])


@pytest.mark.parametrize("parts", [("", ""), ("train", "val")])
def test_masks_are_a_task(parts: tuple[str, str], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(10):
        mask = np.zeros((32, 32), np.uint8)
        mask[:, : 8 + 2 * number] = 255
        pixels = (np.where(mask, 180, 60)[..., None] + rng.integers(0, 20, (32, 32, 3))).astype(
            "u1"
        )
        for folder, array in (("img_dir", pixels), ("ann_dir", mask)):
            path = tmp_path / "roads" / folder / parts[number % 5 == 0] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            PillowImage.fromarray(array).save(path)
    scores = compare(tmp_path / "roads", foreground=255)
    assert scores["mIoU"] > 0.7
    assert scores["mIoU"] == pytest.approx((scores["IoU 0"] + scores["IoU 1"]) / 2)
    for options, message in (
        ({}, "say of how many classes, --num_classes"),
        ({"foreground": 255, "tasks": ("knn",)}, "only --tasks dense"),
    ):
        with pytest.raises(ValueError, match=message):
            compare(tmp_path / "roads", **options)


def test_masks_of_rasters_are_measured_on_the_bands_that_are_asked_for(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    rng = np.random.default_rng(0)
    shape = {"driver": "GTiff", "dtype": "uint8", "count": 5, "height": 64, "width": 64}
    for number in range(10):
        mask = np.kron(rng.integers(0, 2, (4, 4)), np.ones((16, 16))).astype(np.uint8)
        bands = rng.integers(0, 60, (5, 64, 64), dtype=np.uint8)
        bands[4] += 120 * mask  # the last one alone tells the classes apart
        for folder in ("img_dir", "ann_dir"):
            (tmp_path / "tiles" / folder).mkdir(parents=True, exist_ok=True)
        with rasterio.open(tmp_path / f"tiles/img_dir/{number}.tif", "w", **shape) as file:
            file.write(bands)
            file.descriptions = ("B02", "B03", "B04", "B08", "B11")
        PillowImage.fromarray(mask).save(tmp_path / f"tiles/ann_dir/{number}.png")
    found = {
        bands: compare(tmp_path / "tiles", num_classes=2, bands=bands)["mIoU"]
        for bands in (("all",), ("B11",), (1, 2, 3))
    }
    assert found["all",] > 0.8
    assert found["B11",] > 0.8
    assert found[1, 2, 3] < 0.6
    for bands, message in (((6,), "bands asks for 6"), (("B8A",), "has no band 'B8A'")):
        with pytest.raises(ValueError, match=rf"0\.tif .*{message}"):
            compare(tmp_path / "tiles", num_classes=2, bands=bands)


def test_what_numbers_of_rasters_with_masks_mean_is_known(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    shape = {"driver": "GTiff", "dtype": "uint16", "count": 3, "height": 8, "width": 8}
    for folder in ("img_dir", "ann_dir"):
        (tmp_path / folder).mkdir()
    with rasterio.open(tmp_path / "img_dir/0.tif", "w", **shape) as file:
        file.write(np.full((3, 8, 8), 900, np.uint16))
    PillowImage.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / "ann_dir/0.png")
    for bands in (None, ("all",)):
        image, _ = SegmentationFolder(tmp_path, num_classes=2, bands=bands).read(0)
        assert image.kind == ValueKind("uint16")
        assert (image.pixels == 900).all()
