"""Few labelled images, as many steps: what a training set hands out, and how often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mmcv._ext", reason="extra openmmlab is not installed")

from mmengine.registry import DATASETS, DefaultScope
from mmengine.runner import Runner

from benchmarks.change_detection.scenes import write_scenes as write_pairs
from benchmarks.detection.scenes import write_oriented_scenes
from benchmarks.detection.scenes import write_scenes as write_boxes
from benchmarks.openmmlab import CMIDBackbone, FewLabels
from benchmarks.openmmlab.experiment import freeze_backbone, load_config, use_labels
from benchmarks.segmentation.scenes import write_scenes as write_masks
from benchmarks.suite.tasks import SUITES

SCENES = {
    "type": "LabelledImages",
    "root": "scenes",
    "part": "train",
    "num_scenes": 50,
    "scene_size": 32,
}
WRITERS: dict[str, Callable[..., None]] = {
    "segmentation": write_masks,
    "detection": write_boxes,
    "oriented detection": write_oriented_scenes,
    "change detection": write_pairs,
}


def names(data: Any, of: Any) -> Counter[Any]:
    """What an epoch reads, and how often."""
    return Counter(of(data.get_data_info(index)) for index in range(len(data)))


def test_images_of_one_class_each_are_drawn_by_class() -> None:
    data = FewLabels(dict(SCENES), 2, seed=3)
    assert len(data) == 40  # as many as the whole training part
    read = names(data, lambda info: info["index"])
    assert len(read) == 20
    assert set(read.values()) == {2}
    classes = Counter(data[index]["gt_label"] for index in range(20))
    assert set(classes.values()) == {2}
    assert len(classes) == 10
    assert names(FewLabels(dict(SCENES), 2, seed=3), lambda info: info["index"]) == read
    assert names(FewLabels(dict(SCENES), 2, seed=4), lambda info: info["index"]) != read
    with pytest.raises(ValueError, match=r"5 labelled .* each class: a class has only 4"):
        FewLabels(dict(SCENES), 5)


@pytest.mark.parametrize("task", SUITES["scenes"][1:], ids=lambda task: task.name)
def test_every_data_set_of_the_suites_gives_few_images(
    task: Any, root: Path, tmp_path: Path
) -> None:
    WRITERS[task.name](tmp_path, train=6, val=1, size=64, seed=0)
    config = load_config(root / task.config)
    loader = config.train_dataloader
    part = "/train" if task.name == "change detection" else ""
    loader.dataset.data_root = f"{tmp_path}{part}"
    loader.update(batch_size=4, num_workers=0, persistent_workers=False)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        steps = len(Runner.build_dataloader(loader))
        use_labels(config, 2, seed=0)
        few = Runner.build_dataloader(loader)
    assert len(few) == steps
    read = names(few.dataset, lambda info: Path(info["img_path"]).name)
    assert sorted(read.values()) == [3, 3]
    assert few.dataset.metainfo["classes"]
    seen = {Path(sample.img_path).name for batch in few for sample in batch["data_samples"]}
    assert seen == set(read)
    too_many = config.train_dataloader.dataset | {"count": 7}
    with (
        DefaultScope.overwrite_default_scope(config.default_scope),
        pytest.raises(ValueError, match="7 labelled training images: there are only 6"),
    ):
        DATASETS.build(too_many)


def test_several_data_sets_are_drawn_from_together(tmp_path: Path) -> None:
    for name, count in (("a", 3), ("b", 2)):
        write_pairs(tmp_path / name, train=count, val=1, size=64, seed=0)
    parts = [{"type": "ChangePairs", "data_root": f"{tmp_path}/{name}/train"} for name in "ab"]
    both = {"type": "ConcatDataset", "datasets": parts}
    with DefaultScope.overwrite_default_scope("mmseg"):
        drawn = {
            path
            for seed in range(10)
            for path in names(FewLabels(both, 2, seed=seed), lambda info: info["img_path"])
        }
        few = FewLabels(both, 3, seed=0)
    assert len(drawn) == 5
    assert len(few) == 5
    assert sorted(names(few, lambda info: info["img_path"]).values()) == [1, 2, 2]
    with (
        DefaultScope.overwrite_default_scope("mmseg"),
        pytest.raises(ValueError, match="cannot be drawn from a RepeatDataset"),
    ):
        FewLabels({"type": "RepeatDataset", "times": 2, "dataset": parts[0]}, 2)


def test_a_refused_image_is_replaced_by_a_drawn_one() -> None:
    generator = np.random.default_rng(0)

    def refuse(sample: dict[str, Any]) -> dict[str, Any] | None:
        return None if generator.random() < 0.5 else sample

    data = FewLabels(SCENES | {"pipeline": [refuse]}, 1)
    drawn = {data.get_data_info(index)["index"] for index in range(40)}
    assert len(drawn) == 10
    full = {data.dataset.get_data_info(index)["index"] for index in range(len(data.dataset))}
    assert full == drawn
    seen = {data[index]["sample_idx"] for index in range(40)}
    assert seen <= set(range(10))


def test_a_frozen_configuration_learns_in_its_head_alone(root: Path) -> None:
    config = load_config(root / "configs/segmentation/upernet_resnet18_scenes.py")
    freeze_backbone(config)
    settings = {key: value for key, value in config.model.backbone.items() if key != "type"}
    backbone = CMIDBackbone(**settings).train()
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert not backbone.network.layer4[1].bn2.training
    config.model.backbone.type = "ResNet"
    with pytest.raises(ValueError, match="no CMIDBackbone, which --frozen is about"):
        freeze_backbone(config)
