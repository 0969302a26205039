from __future__ import annotations

import multiprocessing.dummy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("mmcv._ext", reason="extra openmmlab is not installed")

from mmengine.logging import MMLogger
from mmrotate.evaluation import eval_rbbox_map

from benchmarks.detection.oriented_metric import OrientedMetric
from cmid.boxes import box_corners
from cmid.data.dota import OrientedObjects, write_objects

CLASSES = ("plane", "ship", "harbor")


def sample(
    name: str, truth: np.ndarray, labels: np.ndarray, found: dict[str, Any]
) -> dict[str, Any]:
    """A data sample as mmengine hands it to metrics; every fourth object is ignored."""
    ignored = np.arange(len(labels)) % 4 == 3
    tensor = torch.from_numpy
    return {
        "img_id": name,
        "gt_instances": {"bboxes": tensor(truth[~ignored]), "labels": tensor(labels[~ignored])},
        "ignored_instances": {"bboxes": tensor(truth[ignored]), "labels": tensor(labels[ignored])},
        "pred_instances": {key: tensor(value) for key, value in found.items()},
    }


def random_samples(count: int) -> list[dict[str, Any]]:
    """Objects, some of them found at about their place, and boxes of nothing."""
    generator = np.random.default_rng(0)
    samples = []
    for number in range(count):
        size = int(generator.integers(1, 9))
        place = generator.uniform(10, 90, (size, 2))
        shape = generator.uniform(5, 20, (size, 2))
        angle = generator.uniform(-1.5, 1.5, (size, 1))
        truth = np.hstack([place, shape, angle]).astype(np.float32)
        labels = generator.integers(0, 2, size)
        moved = truth + generator.normal(0, 0.7, truth.shape) * (1, 1, 1, 1, 0.1)
        boxes = np.vstack([moved, truth + 40]).astype(np.float32)
        found = {
            "bboxes": boxes,
            "scores": generator.random(2 * size).astype(np.float32),
            "labels": np.concatenate([labels, labels]),
        }
        samples.append(sample(f"P{number}", truth, labels, found))
    return samples


def evaluated(samples: list[dict[str, Any]], **options: Any) -> dict[str, float]:
    metric = OrientedMetric(**options)
    metric.dataset_meta = {"classes": CLASSES}
    metric.process({}, samples)
    return metric.evaluate(len(samples))


def test_average_precision_is_that_of_mmrotate(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = random_samples(8)
    metric = OrientedMetric(iou_thrs=[0.5, 0.75])
    metric.dataset_meta = {"classes": CLASSES}
    metric.process({}, samples)
    truths, found = zip(*metric.results, strict=True)
    # Threads in place of its processes, which take 20 seconds to start.
    monkeypatch.setattr(
        "mmrotate.evaluation.functional.mean_ap.get_context", lambda _: multiprocessing.dummy
    )
    expected, per_class = eval_rbbox_map(
        [each["pred_bbox_scores"] for each in found], list(truths), logger="silent"
    )
    scores = metric.evaluate(len(samples))
    assert 0.2 < expected < 0.95
    assert scores["dota/AP50"] == pytest.approx(expected)
    assert scores["dota/AP50_plane"] == pytest.approx(float(per_class[0]["ap"]))
    assert scores["dota/AP75"] < scores["dota/AP50"]
    assert scores["dota/mAP"] == pytest.approx((scores["dota/AP50"] + scores["dota/AP75"]) / 2)
    assert "dota/AP50_harbor" not in scores  # no object to find


def test_ignored_objects_count_neither_way() -> None:
    box = np.array([[20, 20, 8, 4, 0.3]], dtype=np.float32)
    label = np.zeros(1, dtype=np.int64)
    found = {"bboxes": box, "scores": np.ones(1, dtype=np.float32), "labels": label}
    good = sample("P0", box, label, found)
    only_ignored = sample("P1", box, label, found)
    only_ignored["ignored_instances"] = only_ignored["gt_instances"]
    only_ignored["gt_instances"] = {"bboxes": torch.zeros(0, 5), "labels": torch.zeros(0).long()}
    assert evaluated([good, only_ignored])["dota/mAP"] == pytest.approx(1)


def test_tiles_are_merged_and_compared_with_whole_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = (60.0, 20.0, 16.0, 6.0, 0.5)
    hard = (20.0, 90.0, 10.0, 10.0, 0.0)
    corners = np.array([box_corners(box), box_corners(hard)])
    objects = OrientedObjects(corners, ("ship", "ship"), np.array([0, 1]))
    write_objects(tmp_path / "P0.txt", objects)
    nothing = np.zeros((0, 5), dtype=np.float32), np.zeros(0, dtype=np.int64)
    tiles = []
    for left, score in ((0, 0.8), (48, 0.6)):
        moved = np.array([box], dtype=np.float32)
        moved[:, 0] -= left
        found = {
            "bboxes": moved,
            "scores": np.array([score], dtype=np.float32),
            "labels": np.ones(1, dtype=np.int64),
        }
        tiles.append(sample(f"P0__64__{left}___0", *nothing, found))
    out = tmp_path / "submission"
    scores = evaluated(
        tiles, merge_patches=True, whole_labels=str(tmp_path), outfile_prefix=str(out)
    )
    assert scores["dota/mAP"] == pytest.approx(1)
    (line,) = (out / "Task1_ship.txt").read_text().splitlines()
    assert line.startswith("P0 0.800000 ")
    assert (out / "Task1_plane.txt").read_text() == ""
    (tmp_path / "P1.txt").touch()
    told: list[str] = []
    monkeypatch.setattr(MMLogger, "warning", lambda _, line: told.append(line))
    evaluated(tiles, merge_patches=True, whole_labels=str(tmp_path))
    assert told[0].startswith("1 of 2 images")
    assert told[0].endswith("not evaluated, first P1")
    assert evaluated(tiles, merge_patches=True, outfile_prefix=str(tmp_path / "other")) == {}


def test_bad_options_are_refused_before_the_test(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="merge_patches needs whole_labels"):
        OrientedMetric(merge_patches=True)
    with pytest.raises(ValueError, match="whole_labels needs merge_patches"):
        OrientedMetric(whole_labels=str(tmp_path))
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match="is there already"):
        OrientedMetric(merge_patches=True, outfile_prefix=str(tmp_path))
    with pytest.raises(FileNotFoundError, match="no folder of labels"):
        OrientedMetric(merge_patches=True, whole_labels=str(tmp_path / "nothing"))
    unlabelled = random_samples(1)
    unlabelled[0]["gt_instances"] = {}
    with pytest.raises(ValueError, match="P0 has no labels"):
        evaluated(unlabelled)
