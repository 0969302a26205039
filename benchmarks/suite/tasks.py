"""The tasks of each suite: a configuration, its data and its measure."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """A downstream task.

    Attributes:
        name: name of the report's row.
        config: file below ``configs/``.
        measure: measure's name in the report, higher is better, in percent.
        key: measure's name in mmengine's scores.
        scale: factor from mmengine's score to percent.
        data: folder that has to exist; None where nothing lies on disk.
        writer: function that generates it, dotted; None for real data.
        train, val, size: number of scenes of each part and their side in pixels.
        options: ``key=value`` overrides of the configuration.
    """

    name: str
    config: str
    measure: str
    key: str
    scale: float = 1.0
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


def _scenes(task: str, config: str, *, measure: str, key: str, scale: float, epochs: int) -> Task:
    room = "detection" if task == "oriented_detection" else task
    function = "write_oriented_scenes" if task == "oriented_detection" else "write_scenes"
    return Task(
        task.replace("_", " "),
        f"configs/{task}/{config}",
        measure,
        key,
        scale,
        f"runs/scenes/{task}",
        f"benchmarks.{room}.scenes.{function}",
        options=_epochs(epochs),
    )


def _epochs(number: int) -> tuple[str, ...]:
    """So many epochs, evaluated at their end alone."""
    return f"train_cfg.max_epochs={number}", f"train_cfg.val_interval={number}"


SUITES: dict[str, tuple[Task, ...]] = {
    "scenes": (
        Task(
            "classification",
            "configs/classification/mmpretrain_scenes.py",
            "top-1 accuracy",
            "accuracy/top1",
            options=_epochs(3),
        ),
        _scenes(
            "segmentation",
            "upernet_resnet18_scenes.py",
            measure="mIoU",
            key="mIoU",
            scale=1,
            epochs=12,
        ),
        _scenes(
            "detection",
            "faster_rcnn_resnet18_scenes.py",
            measure="AP",
            key="coco/bbox_mAP",
            scale=100,
            epochs=5,
        ),
        _scenes(
            "oriented_detection",
            "oriented_rcnn_resnet18_scenes.py",
            measure="AP50",
            key="dota/AP50",
            scale=100,
            epochs=4,
        ),
        _scenes(
            "change_detection",
            "bit_resnet18_scenes.py",
            measure="F1",
            key="change/f1",
            scale=100,
            epochs=5,
        ),
    ),
    "real": (
        Task(
            "roads",
            "configs/segmentation/upernet_resnet18_roads.py",
            "mIoU",
            "mIoU",
            data="data/segmentation/roads",
        ),
        Task(
            "airplanes",
            "configs/detection/faster_rcnn_resnet18_airplanes.py",
            "AP50",
            "coco/bbox_mAP_50",
            100,
            "data/airplanes",
        ),
        Task(
            "NWPU VHR-10",
            "configs/detection/faster_rcnn_resnet18_nwpu_vhr10.py",
            "AP50",
            "coco/bbox_mAP_50",
            100,
            "data/nwpu_vhr10",
        ),
        Task(
            "NWPU VHR-10, oriented",
            "configs/oriented_detection/oriented_rcnn_resnet18_nwpu_vhr10.py",
            "AP50",
            "dota/AP50",
            100,
            "data/nwpu_vhr10",
        ),
        Task(
            "overfitted change",
            "configs/change_detection/bit_resnet18_overfit.py",
            "F1",
            "change/f1",
            100,
            "data/change",
        ),
    ),
}
