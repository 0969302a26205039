"""A training set of few images that is as long as the whole one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset, ConcatDataset, RepeatDataset
from mmengine.registry import DATASETS, DefaultScope
from torch import Tensor

from benchmarks.openmmlab.datasets import LabelledImages
from cmid.evaluation.linear import draw_of_each_class, fewest_of_a_class


@DATASETS.register_module()
class FewLabels(RepeatDataset):
    """Some images of a training set, repeated until there are as many as before.

    An epoch has as many steps as with all images, so that a schedule stays what it is. Seen by its
    index, image ``i`` is the drawn one ``i % number``. Nothing else is ever read, not even where a
    pipeline refuses an image and mmengine takes another.

    Args:
        dataset: any ``BaseDataset``, or a ``ConcatDataset`` of some, as a configuration.
        count: number of images to draw; of `LabelledImages`, which have one class each, of every
            class.
        seed: random seed of the draw, the only thing that it depends on.

    Raises:
        ValueError: there are fewer; or a wrapper of another kind.
    """

    def __init__(self, dataset: dict[str, Any], count: int, *, seed: int = 0) -> None:
        self.count, self.seed = count, seed
        super().__init__(dataset, times=1)

    def full_init(self) -> None:
        """Draw once, and leave everything else out."""
        if self._fully_initialized:
            return
        super().full_init()  # counts the whole
        rows = draw(classes_of(self.dataset), self.count, seed=self.seed)
        _restrict(self.dataset, sorted(rows.tolist()))

    def _get_ori_dataset_idx(self, idx: int) -> int:
        return idx % len(self.dataset)


def draw(classes: Tensor, count: int, *, seed: int) -> Tensor:
    """Indices of ``count`` images of each class; raises ValueError where one has fewer."""
    fewest = fewest_of_a_class(classes)
    if count > fewest:
        kinds = len(classes.unique())
        held = f"a class has only {fewest}" if kinds > 1 else f"there are only {fewest}"
        each = " of each class" if kinds > 1 else ""
        raise ValueError(f"{count} labelled training images{each}: {held}")
    return draw_of_each_class(classes, count, seed=seed)


def build_training_set(config: Config) -> Any:
    """The training set of a configuration, as its runner builds it."""
    with DefaultScope.overwrite_default_scope(config.get("default_scope")):
        dataset = DATASETS.build(config.train_dataloader.dataset)
    dataset.full_init()
    return dataset


def classes_of(dataset: Any) -> Tensor:
    """``(N,)`` class of each image of a training set, 0 where images have no single one."""
    if isinstance(dataset, LabelledImages):
        return torch.as_tensor(dataset.labels())
    return torch.zeros(len(dataset), dtype=torch.int64)


def _restrict(dataset: Any, rows: Sequence[int]) -> None:
    if isinstance(dataset, BaseDataset):
        dataset.get_subset_(rows)
    elif isinstance(dataset, ConcatDataset):
        ends = dataset.cumulative_sizes
        for part, end in zip(dataset.datasets, ends, strict=True):
            start = end - len(part)
            _restrict(part, [row - start for row in rows if start <= row < end])
        dataset.cumulative_sizes = dataset.cumsum(dataset.datasets)
    else:
        raise ValueError(
            f"labelled images cannot be drawn from a {type(dataset).__name__}: give all labels"
        )
