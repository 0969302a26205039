"""The tasks of each suite: a configuration, its data and its measure."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """One of mmengine's scores, higher is better.

    Attributes:
        name: name in the report, where it is in percent.
        key: name in mmengine's scores.
        scale: factor from there to percent.
    """

    name: str
    key: str
    scale: float = 1.0


TOP1 = Measure("top-1 accuracy", "accuracy/top1")
MIOU = Measure("mIoU", "mIoU")
AP = Measure("AP", "coco/bbox_mAP", 100)
AP50 = Measure("AP50", "coco/bbox_mAP_50", 100)
ORIENTED_AP50 = Measure("AP50", "dota/AP50", 100)
F1 = Measure("F1", "change/f1", 100)

# What writes generated scenes in the layout of each task.
SCENE_WRITERS = {
    "classification": "benchmarks.classification.scenes.write_scenes",
    "segmentation": "benchmarks.segmentation.scenes.write_scenes",
    "detection": "benchmarks.detection.scenes.write_scenes",
    "oriented_detection": "benchmarks.detection.scenes.write_oriented_scenes",
    "change_detection": "benchmarks.change_detection.scenes.write_scenes",
}


@dataclass(frozen=True)
class Task:
    """A downstream task.

    Attributes:
        name: name of the report's row.
        config: file below ``configs/``.
        measure: what the report says of it.
        data: folder that has to exist; None where nothing lies on disk.
        writer: function that generates it, dotted; None for real data.
        train, val, size: number of scenes of each part and their side in pixels.
        options: ``key=value`` overrides of the configuration.
    """

    name: str
    config: str
    measure: Measure
    data: str | None = None
    writer: str | None = None
    train: int = 400
    val: int = 100
    size: int = 128
    options: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """Name of its folder in a report."""
        return re.sub(r"\W+", "_", self.name)


def _scenes(task: str, config: str, measure: Measure, *, epochs: int) -> Task:
    """A task on generated scenes, evaluated at the end of the training alone."""
    on_disk = task != "classification"  # whose configuration generates them
    return Task(
        task.replace("_", " "),
        f"configs/{task}/{config}",
        measure,
        f"runs/scenes/{task}" if on_disk else None,
        SCENE_WRITERS[task] if on_disk else None,
        options=(f"train_cfg.max_epochs={epochs}", f"train_cfg.val_interval={epochs}"),
    )


def _real(name: str, config: str, measure: Measure, data: str) -> Task:
    return Task(name, f"configs/{config}", measure, f"data/{data}")


SUITES: dict[str, tuple[Task, ...]] = {
    "scenes": (
        _scenes("classification", "mmpretrain_scenes.py", TOP1, epochs=3),
        _scenes("segmentation", "upernet_resnet18_scenes.py", MIOU, epochs=12),
        _scenes("detection", "faster_rcnn_resnet18_scenes.py", AP, epochs=5),
        _scenes("oriented_detection", "oriented_rcnn_resnet18_scenes.py", ORIENTED_AP50, epochs=4),
        _scenes("change_detection", "bit_resnet18_scenes.py", F1, epochs=5),
    ),
    "real": (
        _real("roads", "segmentation/upernet_resnet18_roads.py", MIOU, "segmentation/roads"),
        _real("airplanes", "detection/faster_rcnn_resnet18_airplanes.py", AP50, "airplanes"),
        _real("NWPU VHR-10", "detection/faster_rcnn_resnet18_nwpu_vhr10.py", AP50, "nwpu_vhr10"),
        _real(
            "NWPU VHR-10, oriented",
            "oriented_detection/oriented_rcnn_resnet18_nwpu_vhr10.py",
            ORIENTED_AP50,
            "nwpu_vhr10",
        ),
        _real("overfitted change", "change_detection/bit_resnet18_overfit.py", F1, "change"),
    ),
}
