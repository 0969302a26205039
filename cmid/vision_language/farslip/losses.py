"""The losses of FarSLIP that look at regions (arXiv:2511.14901)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cmid.precision import full_precision
from cmid.processes import gather_rows, mean_over_processes, num_processes


def region_distillation_loss(regions: Tensor, targets: Tensor) -> Tensor:
    r"""How far features of regions are from those of the regions seen on their own.

    .. math:: L = 1 - \operatorname{mean}_k \cos(f_k, t_k)

    The mean is over the regions of all processes. Whether the target carries a gradient is the
    caller's choice: in the published recipe it does.

    Args:
        regions: ``(K, E)`` pooled from the map of the whole image.
        targets: ``(K, E)`` of the cropped and resized region.

    Returns:
        float32 in [0, 2]; 0 where there are no regions.
    """
    with full_precision(regions):
        distance = 1 - F.cosine_similarity(regions.float(), targets.float(), dim=-1)  # (K,)
        total = gather_rows(torch.ones(1, device=regions.device) * len(regions)).sum()
        return mean_over_processes(distance.sum()) * num_processes() / total.clamp(min=1)


def multi_positive_cross_entropy(
    regions: Tensor, texts: Tensor, labels: Tensor, scale: Tensor
) -> Tensor:
    r"""The region-category loss as published: one text per region, equal texts repeated.

    .. math:: P_{ij} = [y_i = y_j] / n_{y_i}, \quad
        L = \tfrac{1}{2} (CE(P, s V U^\top) + CE(P, s U V^\top))

    Training uses :func:`cmid.vision_language.clip.contrastive.multi_positive_loss` unless
    ``model.region_loss`` is ``published``.

    Args:
        regions: ``(K, E)``, L2-normalised.
        texts: ``(n, E)``, L2-normalised, all different.
        labels: ``(K,)`` int64, rows of ``texts``.
        scale: ``s``.

    Returns:
        float32, at least the mean of ``log n_{y_i}``.
    """
    with full_precision(regions):
        if not len(regions):
            return regions.float().sum() + 0 * texts.float().sum() * scale
        same = (labels[:, None] == labels[None]).float()
        target = same / same.sum(dim=1, keepdim=True)  # (K, K)
        logits = scale.float() * regions.float() @ texts.float()[labels].T  # (K, K)
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
