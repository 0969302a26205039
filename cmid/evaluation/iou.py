"""Intersection over union: the one meaning that all segmentation scores of this project share.

A class that occurs neither in the truth nor in the prediction has no IoU and is left out of the
mean, as in mmsegmentation's ``IoUMetric``. Pixels with label 255 do not count.
"""

from __future__ import annotations

from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

IGNORED = 255


def confusion_matrix(labels: Tensor, mask: Tensor, num_classes: int) -> Tensor:
    """``(K, K)`` int64 counts, true classes in rows.

    Args:
        labels: ``(H, W)`` predicted classes.
        mask: ``(H, W)`` true classes, 255 where ignored.
    """
    return multiclass_confusion_matrix(
        labels[None], mask[None].long(), num_classes=num_classes, ignore_index=IGNORED
    )


def class_iou(confusion: Tensor) -> Tensor:
    """``(..., K)`` float64 intersection over union; nan for classes of no pixel.

    Args:
        confusion: ``(..., K, K)`` counts, true classes in rows.
    """
    hits = confusion.diagonal(dim1=-2, dim2=-1).double()
    return hits / (confusion.sum(dim=-1) + confusion.sum(dim=-2) - hits)


def mean_iou(confusion: Tensor) -> Tensor:
    """``(...)`` mean of `class_iou` over the classes that have one; nan without any pixel."""
    return class_iou(confusion).nanmean(dim=-1)
