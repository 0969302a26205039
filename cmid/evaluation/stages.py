"""What each stage of a backbone knows: kNN of its pooled features, and signs of collapse."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cmid.evaluation.collapse import effective_rank, relative_std
from cmid.evaluation.knn import knn_scores
from cmid.evaluation.score import Score
from cmid.evaluation.tasks import Found, Labelled, MeasureConfig
from cmid.models import MaskedEncoder
from cmid.models.intermediates import intermediate_maps, one_of_each_stride


class PooledStages(nn.Module):
    """Pooled features of all stages side by side, ``(B, C, H, W)`` to ``(B, sum of widths)``.

    Of a hierarchical backbone the last feature map of each stride from 4 on; of a plain transformer
    four blocks, evenly spaced.

    Attributes:
        levels: the stages, first to last.
    """

    def __init__(self, encoder: MaskedEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.levels = one_of_each_stride(encoder.backbone)

    def forward(self, images: Tensor) -> Tensor:
        maps = intermediate_maps(self.encoder.backbone, images, self.levels)
        return torch.cat([each.mean(dim=(2, 3)) for each in maps], dim=1)


def stage_scores(
    stages: PooledStages, train: Labelled, test: Labelled, settings: MeasureConfig
) -> Found:
    """kNN accuracy, effective rank and relative standard deviation of each stage.

    Args:
        train, test: features of ``stages`` with ``(N,)`` classes.
    """
    found: Found = {}
    widths = [level.width for level in stages.levels]
    parts = zip(train[0].split(widths, dim=1), test[0].split(widths, dim=1), strict=True)
    for number, (bank, queries) in enumerate(parts, start=1):
        name = f"stage {number}"
        votes = knn_scores(bank, train[1], queries, k=settings.k, temperature=settings.temperature)
        found[f"{name} knn"] = Score("share", (votes.argmax(dim=1) == test[1]).cpu().numpy())
        found[f"{name} effective rank"] = effective_rank(queries)
        found[f"{name} relative std"] = relative_std(queries)
    return found
