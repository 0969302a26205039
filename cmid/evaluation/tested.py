"""What backbones are measured on: labelled images in a training and a test part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from cmid.checkpoints.backbones import Backbone
from cmid.data.source import ImageSource
from cmid.data.splits import SubsetSource, open_split
from cmid.evaluation.cache import cached_features
from cmid.evaluation.config import LABEL_TASKS, ComparisonConfig
from cmid.evaluation.identity import image_names, images_digest
from cmid.evaluation.multilabel import read_multilabels
from cmid.evaluation.regression import read_targets
from cmid.evaluation.stages import PooledStages, stage_scores
from cmid.evaluation.tasks import (
    SINGLE_LABEL,
    Evaluation,
    Found,
    Labelled,
    MeasureConfig,
    measure,
)

_AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
_SEVERAL = "it needs one label an image"
_MASKS = "it needs images in img_dir/ and masks in ann_dir/"
_NUMBERS = "it needs numbers of the images: give --targets"


class TestedImages:
    """Images with a class each, with several labels, or with numbers.

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
        unlabelled = config.targets is not None
        self.parts = open_split(
            config.data,
            config.test,
            seed=config.seed,
            labelled=not unlabelled,
            bands=config.bands,
            sensor=config.sensor,
        )
        self.num_bands = self.parts[0].num_bands
        self.labels: Sequence[Tensor] | None = None
        allowed: tuple[str, ...] = (*LABEL_TASKS, "stages")
        names: tuple[str, ...] = ()
        reasons = {"dense": _MASKS, "regression": _NUMBERS}
        if config.targets:
            self.labels, names = _read(read_targets, config.targets, *self.parts)
            allowed, reasons = ("regression",), {"dense": _MASKS}
        elif config.multilabel:
            self.labels, _ = _read(read_multilabels, config.multilabel, *self.parts)
            allowed = tuple(task for task in LABEL_TASKS if task not in SINGLE_LABEL)
            reasons |= dict.fromkeys((*SINGLE_LABEL, "stages"), _SEVERAL)
        asked = config.tasks or (allowed if config.targets else LABEL_TASKS)
        self.tasks = [task for task in asked if task in allowed]
        self.left_out = {
            task: reasons.get(task, "numbers are no classes")
            for task in asked
            if task not in allowed
        }
        if not self.tasks:
            task, reason = next(iter(self.left_out.items()))
            raise ValueError(f"{task} cannot be measured on {config.data}: {reason}")
        train, test = self.parts
        self.about: dict[str, Any] = {
            "data": config.data,
            "train_images": len(train),
            "test_images": len(test),
            "test_digest": images_digest(test),
        }
        self.settings = MeasureConfig(
            k=config.k, shots=config.shots, seeds=config.seeds, targets=names, seed=config.seed
        )

    def features(self, fabric: Fabric, backbone: Backbone) -> tuple[Labelled, Labelled]:
        """Pooled features of both parts with their labels, the same on every process."""
        train, test = (
            pooled_features(fabric, backbone, part, key=name, config=self.config)
            for name, part in zip(("train", "test"), self.parts, strict=True)
        )
        if self.labels is not None:
            return (train[0], self.labels[0]), (test[0], self.labels[1])
        return train, test

    def images(self) -> tuple[ImageSource, ImageSource]:
        """Training and test images."""
        return self.parts

    def keep(self, indices: list[int]) -> None:
        """Leave all but some test images out."""
        train, test = self.parts
        self.parts = train, SubsetSource(test, indices)
        if self.labels is not None:
            self.labels = self.labels[0], self.labels[1][indices]
        self.about |= {"test_images": len(indices), "test_digest": images_digest(self.parts[1])}

    def measure(self, fabric: Fabric, backbone: Backbone) -> Evaluation | None:
        """Scores on the first process, None on the others."""
        train, test = self.features(fabric, backbone)
        found: Found = {}
        if "stages" in self.tasks:
            stages = PooledStages(backbone.encoder)
            bank, queries = (
                pooled_features(
                    fabric, backbone, part, key=f"{name}, stages", config=self.config, model=stages
                )
                for name, part in zip(("train", "test"), self.parts, strict=True)
            )
            found = stage_scores(stages, bank, queries, self.settings)
        if not fabric.is_global_zero:
            return None
        others = [task for task in self.tasks if task != "stages"]
        measured = measure(train, test, others, self.settings)
        return replace(measured, found=measured.found | found)


def pooled_features(
    fabric: Fabric,
    backbone: Backbone,
    source: ImageSource,
    *,
    key: str,
    config: ComparisonConfig,
    model: nn.Module | None = None,
) -> Labelled:
    """Features and labels of a source, as `cached_features`, with the options of a comparison."""
    return cached_features(
        backbone,
        source,
        folder=config.cache,
        key=key,
        model=model,
        size=config.size or backbone.size,
        batch_size=config.batch_size,
        num_workers=config.num_workers,
        precision=autocast_dtype(config),
        rank=fabric.global_rank,
        world_size=fabric.world_size,
    )


def autocast_dtype(config: ComparisonConfig) -> torch.dtype:
    """The dtype of autocast that ``--precision`` names; float32 for none."""
    return _AUTOCAST.get(config.precision, torch.float32)


def _read(
    reader: Callable[[str, list[str]], tuple[Tensor, tuple[str, ...]]],
    path: str,
    *parts: ImageSource,
) -> tuple[Sequence[Tensor], tuple[str, ...]]:
    """What a table says of the images of each part, and the names of its columns."""
    names = [image_names(part) for part in parts]
    labels, columns = reader(path, [name for part in names for name in part])
    return labels.split([len(part) for part in names]), columns
