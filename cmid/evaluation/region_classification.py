"""Classification of regions by names: the pooled feature of the crop against pooled patches."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from cmid.boxes import clip_boxes
from cmid.evaluation.image_text import (
    embed_classes,
    evaluation_mode,
    fit_square,
    normalized,
)
from cmid.evaluation.multilabel import mean_average_precision
from cmid.models.dual_encoder import ImageTextModel

RegionPooling = Callable[[Tensor, Tensor], Tensor]


class ImageRegions(NamedTuple):
    """An image with boxes.

    Attributes:
        pixels: ``(3, H, W)`` uint8.
        boxes: ``(R, 4)`` x0, y0, x1, y1 in pixels; pixel ``i`` covers ``[i, i + 1)``.
        labels: ``(R,)`` int64 classes.
    """

    pixels: Tensor
    boxes: Tensor
    labels: Tensor


class RegionImages(Protocol):
    """Images with boxes, by index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> ImageRegions: ...


@dataclass(frozen=True)
class RegionScores:
    """Measures of one kind of region feature, each in [0, 1].

    Attributes:
        accuracy: share of regions whose nearest name is the right one.
        mean_class_accuracy: mean of the classes' accuracies.
        mean_average_precision: average precision of ranking all regions by a class, mean over the
            classes that occur.
        per_class: accuracy by class; nan for classes without regions.
        regions: number of regions.
        left_out: boxes outside of their image.
    """

    accuracy: float
    mean_class_accuracy: float
    mean_average_precision: float
    per_class: dict[str, float]
    regions: int
    left_out: int


def cut_region(pixels: Tensor, box: Sequence[float], size: int) -> Tensor:
    """The pixels that a box touches, squeezed to ``(3, size, size)``."""
    x0, y0 = (math.floor(value) for value in box[:2])
    x1, y1 = (math.ceil(value) for value in box[2:])
    return fit_square(pixels[:, y0:y1, x0:x1], size, fit="squash")


def region_scores(
    similarity: Tensor, labels: Tensor, names: Sequence[str], *, scale: float, left_out: int = 0
) -> RegionScores:
    """Score similarities.

    Args:
        similarity: ``(R, K)`` cosine similarities.
        labels: ``(R,)`` int64.
        names: names of the K classes.
        scale: factor of similarities before the softmax, which decides how regions rank.

    Raises:
        ValueError: no region.
    """
    if not len(labels):
        raise ValueError("there is no region to classify")
    hits = (similarity.argmax(dim=1) == labels).float()
    per_class = {name: float(hits[labels == k].mean()) for k, name in enumerate(names)}
    each = torch.tensor([*per_class.values()])
    probabilities = (scale * similarity).softmax(dim=1)
    return RegionScores(
        float(hits.mean()),
        float(each[~each.isnan()].mean()),
        mean_average_precision(probabilities, F.one_hot(labels, len(names))),
        per_class,
        len(labels),
        left_out,
    )


def classify_regions(
    model: ImageTextModel,
    data: RegionImages,
    *,
    names: Sequence[str],
    templates: Sequence[str],
    pool: RegionPooling,
    cache: str | os.PathLike[str] | None = None,
    batch_size: int = 64,
    progress: str | None = None,
) -> dict[str, RegionScores]:
    """Classify boxes by names, by two features of each.

    Args:
        names, templates: see `embed_classes`; labels of the data are indices into ``names``.
        pool: ``(B, E, N, M)`` dense features and ``(R, 5)`` regions (index of the image, then x0,
            y0, x1, y1 as fractions of it) to ``(R, E)``.
        batch_size: crops at a time.
        progress: title of a progress bar.

    Returns:
        Scores of ``crop``: the pooled feature of the region, cut out and resized; of ``roi``: the
        dense features of the whole image, squeezed to a square, pooled over the box.

    Raises:
        ValueError: no region inside of an image.
    """
    classes = embed_classes(model, names, templates=templates, cache=cache)
    crops, rois, labels, left_out = [], [], [], 0
    with evaluation_mode(model) as device:
        for index in tqdm(range(len(data)), desc=progress, unit="image", disable=progress is None):
            pixels, boxes, own = data[index]
            height, width = pixels.shape[-2:]
            boxes, kept = clip_boxes(boxes.reshape(-1, 4), height, width)
            left_out += int((~kept).sum())
            boxes, own = boxes[kept], own[kept]
            if not len(boxes):
                continue
            whole = fit_square(pixels, model.size, fit="squash")[None].to(device)
            fractions = boxes / torch.tensor([width, height, width, height])
            regions = torch.cat([torch.zeros(len(boxes), 1), fractions], dim=1).to(device)
            rois.append(normalized(pool(model.encode_images(whole).dense, regions)).cpu())
            squares = torch.stack([cut_region(pixels, box, model.size) for box in boxes.tolist()])
            for batch in squares.split(batch_size):
                crops.append(normalized(model.encode_images(batch.to(device)).pooled).cpu())
            labels.append(own)
        scale = float(model.logit_scale.exp())
    if not labels:
        raise ValueError(f"no region lies in its image ({left_out} lie outside)")
    truth = torch.cat(labels)
    return {
        name: region_scores(
            torch.cat(features) @ classes.T, truth, names, scale=scale, left_out=left_out
        )
        for name, features in (("crop", crops), ("roi", rois))
    }
