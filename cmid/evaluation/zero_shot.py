"""Zero-shot classification: the class whose name lies nearest to the image."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cmid.data.source import ImageSource
from cmid.evaluation.image_text import embed_classes, embed_images
from cmid.models.dual_encoder import ImageTextModel


@dataclass(frozen=True)
class ClassificationScores:
    """Accuracies, each in [0, 1].

    Attributes:
        top1, top5: over all images (with up to five classes, top5 is 1 by definition).
        per_class: top-1 by class name; nan for classes without images.
        images: number of images.
    """

    top1: float
    top5: float
    per_class: dict[str, float]
    images: int

    @property
    def mean_class(self) -> float:
        """Mean of the per-class accuracies, over classes with images."""
        values = torch.tensor([*self.per_class.values()])
        return float(values[~values.isnan()].mean())


def classification_scores(
    similarity: Tensor, labels: Tensor, names: Sequence[str]
) -> ClassificationScores:
    """Score similarities.

    Args:
        similarity: ``(N, K)``, higher is nearer.
        labels: ``(N,)`` int64.
        names: names of the K classes.

    Raises:
        ValueError: images without a label, or one out of range.
    """
    if len(labels) == 0 or int(labels.min()) < 0 or int(labels.max()) >= len(names):
        raise ValueError(f"classification needs labels from 0 to {len(names) - 1} for all images")
    order = similarity.topk(min(5, len(names)), dim=1).indices
    hits = order == labels[:, None]
    per_class = {
        name: float(hits[labels == number, 0].float().mean()) for number, name in enumerate(names)
    }
    top1, top5 = hits[:, 0].float().mean(), hits.any(dim=1).float().mean()
    return ClassificationScores(float(top1), float(top5), per_class, len(labels))


def zero_shot_classification(
    model: ImageTextModel,
    source: ImageSource,
    *,
    names: Sequence[str],
    templates: Sequence[str],
    cache: str | os.PathLike[str] | None = None,
    **loading: Any,
) -> ClassificationScores:
    """Classify labelled images by the names of their classes (CLIP, arXiv:2103.00020).

    Args:
        names: class names in the order of the source's labels; they fill the templates.
        templates: texts with ``{}``; a class is the mean of its normalised embeddings.
        cache: folder for text embeddings.
        **loading: of `embed_images`.

    Raises:
        ValueError: fewer or more names than the source has classes.
    """
    if len(names) != len(source.classes):
        raise ValueError(
            f"{len(names)} class names for {len(source.classes)} classes of the images"
        )
    classes = embed_classes(model, names, templates=templates, cache=cache)
    images, labels = embed_images(model, source, **loading)
    return classification_scores(images @ classes.T, labels, names)
