"""What training of a scorer minimises: how unlikely the preferences of images are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from cmid.vision_language.scoring.config import PreferenceLossConfig
from cmid.vision_language.scoring.losses import bradley_terry_loss, plackett_luce_loss
from cmid.vision_language.scoring.preferences import Preference, ranked_pairs, score_preferences


def preference_loss(
    score: Callable[..., Tensor],
    images: Sequence[Any],
    preferences: Sequence[Sequence[Preference]],
    loss: PreferenceLossConfig = PreferenceLossConfig(),
) -> tuple[Tensor, Tensor]:
    """Mean over images of the mean over their preferences.

    Args:
        score, images, preferences: see `score_preferences`.
        loss: how scores are compared.

    Returns:
        the loss, and the share of pairs that are in order; both float32 scalars.
    """
    scored = score_preferences(score, images, preferences)
    losses, right = [], []
    for own, of_image in zip(preferences, scored, strict=True):
        pairs = [*zip(own, of_image, strict=True)]
        losses.append(torch.stack([_compare(s, p.ranks, loss) for p, s in pairs]).mean())
        right += [s[better] > s[worse] for p, s in pairs for better, worse in p.pairs()]
    return torch.stack(losses).mean(), torch.stack(right).float().mean()


def _compare(scores: Tensor, ranks: Sequence[int | None], loss: PreferenceLossConfig) -> Tensor:
    """The loss of one preference; a candidate without a rank takes no part."""
    if loss.name == "ranking":
        known = torch.tensor([[rank is not None for rank in ranks]], device=scores.device)
        order = torch.tensor([[rank or 0 for rank in ranks]], device=scores.device)
        return plackett_luce_loss(scores[None], known, ranks=order)
    better, worse = (list(places) for places in zip(*ranked_pairs(ranks), strict=True))
    return bradley_terry_loss(
        scores[better], scores[worse], margin=loss.margin, centring=loss.centring
    )
