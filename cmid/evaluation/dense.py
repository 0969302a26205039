"""Linear probing of dense features: what every cell knows about its place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from cmid.checkpoints.backbones import Backbone
from cmid.data.segmentation import ChosenMasks
from cmid.data.source import Image
from cmid.evaluation.iou import IGNORED, confusion_matrix
from cmid.evaluation.linear import LinearClassifier, fit_linear
from cmid.evaluation.score import Score
from cmid.models.intermediates import intermediate_maps, one_of_each_stride
from cmid.views.crops import resize

Pairs = Sequence[tuple[Tensor, Tensor]] | ChosenMasks
Pixels = Tensor | Image


@torch.no_grad()
def hypercolumns(backbone: Backbone, pixels: Pixels) -> Tensor:
    """Features of all stages of a backbone on one grid (hypercolumns, arXiv:1411.5752).

    Of a hierarchical backbone the last feature map of each stride from 4 on; of a plain
    transformer four blocks, evenly spaced. Coarse maps are interpolated to the finest.

    Args:
        pixels: ``(C, H, W)`` stored values, or an image, which tells what they mean.

    Returns:
        ``(D, N, M)`` float32, with D the sum of the widths.

    Raises:
        ImageValuesError: pixels of other bands or kind than the backbone's statistics.
    """
    if not isinstance(pixels, Image):
        size = (int(pixels.shape[1]), int(pixels.shape[2]))
        pixels = Image(pixels, size, name="the image")
    backbone.standardize.statistics.check(pixels)
    pixels = pixels.pixels
    stride = backbone.encoder.stride
    size = (_round_up(pixels.shape[1], stride), _round_up(pixels.shape[2], stride))
    device = backbone.standardize.mean.device
    inputs = backbone.standardize(resize(pixels, size)[None].to(device))
    network = backbone.encoder.backbone
    maps = intermediate_maps(network, inputs, one_of_each_stride(network))
    grid = maps[0].shape[-2:]
    upsampled = [
        F.interpolate(features.float(), grid, mode="bilinear", align_corners=False)
        for features in maps
    ]
    return torch.cat(upsampled, dim=1)[0]


@torch.no_grad()
def dense_probe(
    backbone: Backbone,
    train: Pairs,
    test: Pairs,
    *,
    num_classes: int,
    l2: float = 1e-3,
    cells: int = 40_000,
    seed: int = 0,
) -> dict[str, float]:
    """The values of `dense_results`, that is ``mIoU`` and ``IoU c`` of each class, in [0, 1]."""
    options: dict[str, Any] = {"num_classes": num_classes, "l2": l2, "cells": cells, "seed": seed}
    return {k: own.value for k, own in dense_results(backbone, train, test, **options).items()}


@torch.no_grad()
def dense_results(
    backbone: Backbone,
    train: Pairs,
    test: Pairs,
    *,
    num_classes: int,
    l2: float = 1e-3,
    cells: int = 40_000,
    seed: int = 0,
    progress: str | None = None,
) -> dict[str, Score]:
    """Semantic segmentation by a linear classifier on `hypercolumns`.

    The classifier learns each cell's shares of classes (ignored pixels apart) from ``cells`` cells
    drawn at random; its logits are interpolated to the pixels of the mask.

    Args:
        train, test: pairs of ``(C, H, W)`` stored values, or images, and ``(H, W)`` masks, 255
            where ignored.
        l2: regularisation of `fit_linear`, on standardised features.
        progress: title of a progress bar.

    Returns:
        ``mIoU`` over all pixels of all test images, and ``IoU c`` of each class, in [0, 1]. Classes
        that occur neither in the test masks nor in the prediction have no score.

    Raises:
        ValueError: no training image, only one class in all of them, or no test pixel that counts.
    """
    if not train:
        raise ValueError("dense probing needs at least one training image with its mask")
    bar = tqdm(total=len(train) + len(test), desc=progress, unit="image", disable=progress is None)
    features, targets = _training_cells(
        backbone,
        _told(train, bar),
        num_classes=num_classes,
        per_image=cells // len(train),
        seed=seed,
    )
    if int((targets.sum(dim=0) > 0).sum()) < 2:
        raise ValueError("the training masks hold one class only: nothing to tell apart")
    mean, std = features.mean(dim=0), features.std(dim=0).clamp_min(1e-6)
    classifier = fit_linear((features - mean) / std, targets, l2=l2, max_iter=100)
    confusions = [
        confusion_matrix(logits.argmax(dim=0).cpu(), mask, num_classes)
        for mask, logits in _predictions(backbone, _told(test, bar), classifier, mean, std)
    ]
    bar.close()
    if not any(int(confusion.sum()) for confusion in confusions):
        raise ValueError("the test masks hold no pixel that counts: there is nothing to score")
    return iou_results(torch.stack(confusions))


def iou_results(confusions: Tensor) -> dict[str, Score]:
    """``mIoU`` and ``IoU c`` of ``(N, K, K)`` counts of N images, see `cmid.evaluation.iou`."""
    hits = confusions.diagonal(dim1=1, dim2=2)
    either = confusions.sum(dim=1) + confusions.sum(dim=2) - hits
    parts = torch.stack([hits, either], dim=1).numpy()  # (N, 2, K)
    each = {f"IoU {k}": Score("ratio", parts[:, :, k]) for k in range(parts.shape[2])}
    occurring = {name: score for name, score in each.items() if score.rows[:, 1].any()}
    return {"mIoU": Score("mIoU", confusions.numpy()), **occurring}


def _told(pairs: Pairs, bar: tqdm[Any]) -> Iterator[tuple[Pixels, Tensor]]:
    for index in range(len(pairs)):
        yield pairs[index]
        bar.update()


def _training_cells(
    backbone: Backbone,
    train: Iterable[tuple[Pixels, Tensor]],
    *,
    num_classes: int,
    per_image: int,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """``(N, D)`` features and ``(N, K)`` class shares of cells drawn from every image."""
    generator = torch.Generator().manual_seed(seed)
    features, targets = [], []
    for pixels, mask in train:
        columns = hypercolumns(backbone, pixels)  # (D, N, M)
        kept = mask != IGNORED
        one_hot = F.one_hot(mask.long().where(kept, 0), num_classes) * kept[..., None]
        grid = (columns.shape[1], columns.shape[2])
        shares = F.adaptive_avg_pool2d(one_hot.permute(2, 0, 1).float(), grid)
        shares = shares.flatten(1).T  # (N * M, K)
        valid = (shares.sum(dim=1) > 0).nonzero().flatten()
        drawn = valid[torch.randperm(len(valid), generator=generator)[:per_image]]
        features.append(columns.flatten(1).T[drawn.to(columns.device)])
        targets.append((shares[drawn] / shares[drawn].sum(dim=1, keepdim=True)).to(columns.device))
    return torch.cat(features), torch.cat(targets)


def _predictions(
    backbone: Backbone,
    test: Iterable[tuple[Pixels, Tensor]],
    classifier: LinearClassifier,
    mean: Tensor,
    std: Tensor,
) -> Iterator[tuple[Tensor, Tensor]]:
    for pixels, mask in test:
        columns = hypercolumns(backbone, pixels)
        rows = (columns.flatten(1).T - mean) / std
        logits = classifier(rows).T.unflatten(1, columns.shape[1:])
        size = tuple(mask.shape)
        yield mask, F.interpolate(logits[None], size, mode="bilinear", align_corners=False)[0]


def _round_up(side: int, stride: int) -> int:
    return -(-side // stride) * stride
