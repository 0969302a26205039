"""What training of a scorer minimises: how unlikely preferences are, and the loss of CLIP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from cmid.vision_language.clip.contrastive import gather_pairs, multi_positive_loss
from cmid.vision_language.scoring.config import PreferenceLossConfig
from cmid.vision_language.scoring.dual_encoder import DualEncoderScorer, EncodedPairs
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


def contrast_loss(
    scorer: DualEncoderScorer, pairs: EncodedPairs, preferences: Sequence[Sequence[Preference]]
) -> Tensor:
    """CLIP's loss of images and their captions, over the samples of all processes.

    Args:
        pairs: the candidates of all preferences in order, encoded.
        preferences: those of each image. Its caption is the longest of the preferred ones: it tells
            most. Preferences with a question are left out.
    """
    rows, captions, start = [], [], 0
    for own in preferences:
        best = {}
        for preference in own:
            ranked = [(rank, k) for k, rank in enumerate(preference.ranks) if rank is not None]
            if ranked and not preference.question:
                best[preference.candidates[min(ranked)[1]]] = start + min(ranked)[1]
            start += len(preference.candidates)
        if best:
            captions.append(max(best, key=len))
            rows.append(best[captions[-1]])
    images = pairs.pooled[pairs.image_of[rows]]
    texts = dict(zip(captions, pairs.text_of[rows].tolist(), strict=True))
    gathered = gather_pairs(images, pairs.texts.pooled[[*texts.values()]], captions, [*texts])
    return multi_positive_loss(*gathered, scorer.cosine_weight)


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
