"""Scores of open-vocabulary segmentation, with a background threshold that is tuned honestly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from cmid.evaluation.iou import IGNORED, class_iou, confusion_matrix, mean_iou
from cmid.evaluation.open_vocabulary import (
    SlidingConfig,
    Vocabulary,
    class_probabilities,
    label_pixels,
)
from cmid.models.dual_encoder import ImageTextModel

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(20))  # the first one is none

Painter = Callable[[int, Tensor, Tensor, Tensor], None]


class MaskedImages(Protocol):
    """Images with masks, as `cmid.data.segmentation.SegmentationFolder`."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Image ``(3, H, W)`` uint8 and mask ``(H, W)`` uint8, 255 where ignored."""


@dataclass(frozen=True)
class TunedScore:
    """A threshold chosen on some images, and its score on the others.

    Attributes:
        threshold: score threshold with the best mIoU on the tuning half; 0 for none.
        tuned, untuned: mIoU on the other half, with it and without a threshold.
        tuning_images, test_images: how many there are.
    """

    threshold: float
    tuned: float
    untuned: float
    tuning_images: int
    test_images: int


@dataclass(frozen=True)
class SegmentationScores:
    """Measures in [0, 1], pooled over the pixels of all images.

    Attributes:
        mean_iou: over classes that occur in the truth or in the prediction.
        per_class: IoU by class; nan for classes that occur in neither.
        accuracy: share of pixels with the right class.
        threshold: score threshold of these numbers.
        tuned: None without a background class, or with one image.
        images: number of images.
    """

    mean_iou: float
    per_class: dict[str, float]
    accuracy: float
    threshold: float
    tuned: TunedScore | None
    images: int


def threshold_confusions(
    probabilities: Tensor, mask: Tensor, *, background: int, thresholds: Sequence[float]
) -> Tensor:
    """``(T, K, K)``: `confusion_matrix` of `label_pixels` at every threshold, in one pass.

    Args:
        probabilities: ``(K, H, W)``.
        mask: ``(H, W)`` true classes, 255 where ignored.
        thresholds: ascending.
    """
    classes, steps = len(probabilities), len(thresholds)
    best, labels = probabilities.max(dim=0)
    passed = torch.bucketize(best, torch.tensor(thresholds), right=True)  # how many thresholds
    cells = (passed * classes + mask.long()) * classes + labels
    counts = torch.bincount(cells[mask != IGNORED], minlength=(steps + 1) * classes**2)
    counts = counts.reshape(steps + 1, classes, classes)
    sure = counts.flip(0).cumsum(dim=0).flip(0)[1:]
    unsure = counts.cumsum(dim=0)[:-1].sum(dim=2)
    confusions = sure.clone()
    confusions[:, :, background] += unsure
    return confusions


def tune_threshold(confusions: Tensor, thresholds: Sequence[float]) -> TunedScore:
    """Choose a threshold on every second image, from the first on; score it on the others.

    Args:
        confusions: ``(N, T, K, K)`` of N >= 2 images and T thresholds, the first of which is 0.
        thresholds: ascending; of equally good ones the lowest is taken.
    """
    tuning, test = confusions[::2].sum(dim=0), confusions[1::2].sum(dim=0)
    best = int(mean_iou(tuning).argmax())
    scores = mean_iou(test)
    halves = len(confusions[::2]), len(confusions[1::2])
    return TunedScore(thresholds[best], float(scores[best]), float(scores[0]), *halves)


def evaluate_segmentation(
    model: ImageTextModel,
    data: MaskedImages,
    *,
    queries: Tensor,
    vocabulary: Vocabulary,
    settings: SlidingConfig = SlidingConfig(),
    threshold: float = 0.0,
    paint: Painter | None = None,
    progress: str | None = None,
) -> SegmentationScores:
    """Segment images by names, and score the result.

    Where the vocabulary has a background, the best of `THRESHOLDS` is found on half of the images
    and scored on the other half, beside the score of the same half without a threshold.

    Args:
        queries: ``(Q, E)`` embeddings of length 1 of ``vocabulary.queries``.
        threshold: score threshold of the main numbers and the pictures.
        paint: is called with the number of an image, the image, its mask and its labels.
        progress: title of a progress bar.

    Raises:
        ValueError: no image; a threshold, but no background; a mask with other classes; no pixel
            that counts.
    """
    if not len(data):
        raise ValueError("there is no image to segment")
    if threshold > 0 and vocabulary.background is None:
        raise ValueError("a threshold needs a background class: name it")
    classes = len(vocabulary.classes)
    chosen, confusions = [], []
    for index in tqdm(range(len(data)), desc=progress, unit="image", disable=progress is None):
        pixels, mask = data[index]
        found = mask[mask != IGNORED]
        if len(found) and int(found.max()) >= classes:
            raise ValueError(f"image {index} has class {int(found.max())} of {classes} names")
        probabilities = class_probabilities(
            model, pixels, queries=queries, vocabulary=vocabulary, settings=settings
        ).cpu()
        background = vocabulary.background
        labels = label_pixels(probabilities, background=background, threshold=threshold)
        chosen.append(confusion_matrix(labels, mask, classes))
        if background is not None:
            confusions.append(
                threshold_confusions(
                    probabilities, mask, background=background, thresholds=THRESHOLDS
                )
            )
        if paint is not None:
            paint(index, pixels, mask, labels)
    total = torch.stack(chosen).sum(dim=0)
    if not int(total.sum()):
        raise ValueError("all pixels of all masks are ignored: there is nothing to score")
    tuned = tune_threshold(torch.stack(confusions), THRESHOLDS) if len(confusions) > 1 else None
    per_class = dict(zip(vocabulary.classes, class_iou(total).tolist(), strict=True))
    accuracy = float(total.diagonal().sum() / total.sum())
    return SegmentationScores(
        float(mean_iou(total)), per_class, accuracy, threshold, tuned, len(data)
    )
