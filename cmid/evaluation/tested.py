"""What backbones are measured on: labelled images in a training and a test part."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import torch
from lightning.fabric import Fabric

from cmid.checkpoints.backbones import Backbone
from cmid.data.source import ImageSource
from cmid.data.splits import SubsetSource, open_split
from cmid.evaluation.cache import cached_features
from cmid.evaluation.config import LABEL_TASKS, ComparisonConfig
from cmid.evaluation.multilabel import read_multilabels
from cmid.evaluation.tasks import SINGLE_LABEL, Evaluation, Labelled, MeasureConfig, measure

_AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
_SEVERAL = "it needs one label an image"


class TestedImages:
    """Images with a class each, or with several labels.

    Attributes:
        num_bands: bands of the images.
        about: what a file of results says of them.
        left_out: why tasks that were asked for cannot be measured.

    Raises:
        ValueError, OSError: as `open_split` and `read_multilabels`.
    """

    __test__ = False  # no test of pytest

    def __init__(self, config: ComparisonConfig) -> None:
        self.config = config
        self.parts = open_split(config.data, config.test, seed=config.seed)
        self.num_bands = self.parts[0].num_bands
        self.labels = None
        asked = config.tasks or LABEL_TASKS
        self.tasks = [*asked]
        if config.multilabel:
            self.labels = _multilabels(config.multilabel, *self.parts)
            self.tasks = [task for task in asked if task not in SINGLE_LABEL] or [*asked]
        self.left_out = {task: _SEVERAL for task in asked if task not in self.tasks}
        train, test = self.parts
        self.about: dict[str, Any] = {
            "data": config.data,
            "train_images": len(train),
            "test_images": len(test),
            "test_digest": _digest(test),
        }
        self.settings = MeasureConfig(
            k=config.k, shots=config.shots, seeds=config.seeds, seed=config.seed
        )

    def features(self, fabric: Fabric, backbone: Backbone) -> tuple[Labelled, Labelled]:
        """Pooled features of both parts with their labels, the same on every process."""
        config = self.config
        train, test = (
            cached_features(
                backbone,
                part,
                folder=config.cache,
                key=name,
                size=config.size or backbone.size,
                batch_size=config.batch_size,
                num_workers=config.num_workers,
                precision=_AUTOCAST.get(config.precision, torch.float32),
                rank=fabric.global_rank,
                world_size=fabric.world_size,
            )
            for name, part in zip(("train", "test"), self.parts, strict=True)
        )
        if self.labels is not None:
            return (train[0], self.labels[0]), (test[0], self.labels[1])
        return train, test

    def measure(self, fabric: Fabric, backbone: Backbone) -> Evaluation | None:
        """Scores on the first process, None on the others."""
        parts = self.features(fabric, backbone)
        return measure(*parts, self.tasks, self.settings) if fabric.is_global_zero else None


def _digest(source: ImageSource) -> str:
    """What tells the images of a part from others, without reading them."""
    try:
        names = _names(source)
    except ValueError:
        indices = getattr(source, "indices", None)
        names = [type(source).__name__, str(len(source) if indices is None else indices.tolist())]
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def _multilabels(path: str, *parts: ImageSource) -> tuple[torch.Tensor, ...]:
    names = [_names(part) for part in parts]
    labels, _ = read_multilabels(path, [name for part in names for name in part])
    return labels.split([len(part) for part in names])


def _names(source: ImageSource) -> list[str]:
    if isinstance(source, SubsetSource):
        names = _names(source.source)
        return [names[index] for index in source.indices]
    paths = getattr(source, "paths", None)
    if paths is None:
        raise ValueError("--multilabel needs image files, whose names its rows give")
    return [os.fsdecode(bytes(path)) for path in paths]
