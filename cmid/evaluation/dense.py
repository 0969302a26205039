"""Linear probing of dense features: what every cell knows about its place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from cmid.checkpoints.backbones import Backbone
from cmid.data.source import Image
from cmid.evaluation.iou import IGNORED, class_iou, confusion_matrix, mean_iou
from cmid.evaluation.linear import LinearClassifier, fit_linear
from cmid.models.intermediates import intermediate_maps, one_of_each_stride
from cmid.views.crops import resize

Pairs = Sequence[tuple[Tensor, Tensor]]


@torch.no_grad()
def hypercolumns(backbone: Backbone, pixels: Tensor) -> Tensor:
    """Features of all stages of a backbone on one grid (hypercolumns, arXiv:1411.5752).

    Of a hierarchical backbone the last feature map of each stride from 4 on; of a plain
    transformer four blocks, evenly spaced. Coarse maps are interpolated to the finest.

    Args:
        pixels: ``(C, H, W)`` stored values.

    Returns:
        ``(D, N, M)`` float32, with D the sum of the widths.

    Raises:
        ImageValuesError: pixels of other bands or kind than the backbone's statistics.
    """
    size = (int(pixels.shape[1]), int(pixels.shape[2]))
    backbone.standardize.statistics.check(Image(pixels, size, name="the image"))
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
    """Semantic segmentation by a linear classifier on `hypercolumns`.

    The classifier learns each cell's shares of classes (ignored pixels apart) from ``cells`` cells
    drawn at random; its logits are interpolated to the pixels of the mask.

    Args:
        train, test: pairs of ``(C, H, W)`` stored values and ``(H, W)`` masks, 255 where ignored.
        l2: regularisation of `fit_linear`, on standardised features.

    Returns:
        ``mIoU`` over all pixels of all test images, and ``IoU c`` of each class, in [0, 1]. Classes
        that occur neither in the test masks nor in the prediction have no score.

    Raises:
        ValueError: no training image, only one class in all of them, or no test pixel that counts.
    """
    if not train:
        raise ValueError("dense probing needs at least one training image with its mask")
    features, targets = _training_cells(
        backbone, train, num_classes=num_classes, per_image=cells // len(train), seed=seed
    )
    if int((targets.sum(dim=0) > 0).sum()) < 2:
        raise ValueError("the training masks hold one class only: nothing to tell apart")
    mean, std = features.mean(dim=0), features.std(dim=0).clamp_min(1e-6)
    classifier = fit_linear((features - mean) / std, targets, l2=l2, max_iter=100)
    confusion = torch.zeros(num_classes, num_classes, dtype=torch.int64)
    for mask, logits in _predictions(backbone, test, classifier, mean, std):
        confusion += confusion_matrix(logits.argmax(dim=0).cpu(), mask, num_classes)
    if not int(confusion.sum()):
        raise ValueError("the test masks hold no pixel that counts: there is nothing to score")
    scores = class_iou(confusion)
    each = {f"IoU {k}": float(score) for k, score in enumerate(scores) if not score.isnan()}
    return {"mIoU": float(mean_iou(confusion)), **each}


def _training_cells(
    backbone: Backbone, train: Pairs, *, num_classes: int, per_image: int, seed: int
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
    backbone: Backbone, test: Pairs, classifier: LinearClassifier, mean: Tensor, std: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    for pixels, mask in test:
        columns = hypercolumns(backbone, pixels)
        rows = (columns.flatten(1).T - mean) / std
        logits = classifier(rows).T.unflatten(1, columns.shape[1:])
        size = tuple(mask.shape)
        yield mask, F.interpolate(logits[None], size, mode="bilinear", align_corners=False)[0]


def _round_up(side: int, stride: int) -> int:
    return -(-side // stride) * stride
