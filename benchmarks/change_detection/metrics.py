"""Precision, recall, F1 and IoU of the changed pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmseg.registry import METRICS
from numpy.typing import NDArray
from torchmetrics.functional.classification import binary_stat_scores


@METRICS.register_module()
class ChangeMetric(BaseMetric):
    """Scores of the changed class over all labelled pixels of all pairs, in [0, 1].

    ``precision``, ``recall``, ``f1``, ``iou`` and ``accuracy`` of pixel counts that are summed over
    pairs (and processes) first, as publications do; 0 where nothing is predicted or nothing has
    changed.

    Args:
        ignore_index: label of pixels that do not count.
        collect_device, prefix: see mmengine's ``BaseMetric``.

    Raises:
        ValueError: no pixel is labelled.
    """

    default_prefix = "change"

    def __init__(
        self, ignore_index: int = 255, collect_device: str = "cpu", prefix: str | None = None
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.ignore_index = ignore_index

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        for sample in data_samples:
            truth = sample["gt_sem_seg"]["data"].squeeze()
            prediction = sample["pred_sem_seg"]["data"].squeeze()
            counts = binary_stat_scores(prediction, truth, ignore_index=self.ignore_index)
            self.results.append(counts.cpu().numpy())

    def compute_metrics(self, results: list[NDArray[np.int64]]) -> dict[str, float]:
        hit, false, kept, missed, _ = np.sum(results, axis=0).tolist()
        total = kept + false + missed + hit
        if not total:
            raise ValueError("no pixel of the evaluated pairs is labelled: see their labels")
        return {
            "precision": _share(hit, hit + false),
            "recall": _share(hit, hit + missed),
            "f1": _share(2 * hit, 2 * hit + false + missed),
            "iou": _share(hit, hit + false + missed),
            "accuracy": _share(hit + kept, total),
        }


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
