"""Losses of scores that are learned from preferences, in float32.

A score means something only against the other candidates for the same image and question: all of
them may be shifted by one number, and no loss here changes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cmid.precision import full_precision


def bradley_terry_loss(
    chosen: Tensor, rejected: Tensor, *, margin: float | Tensor = 0.0, centring: float = 0.0
) -> Tensor:
    r"""How unlikely it is that the chosen one of each pair wins (Bradley and Terry, 1952).

    .. math:: L = \operatorname{mean}_b \log(1 + e^{r^-_b - r^+_b + m_b})
        + c \operatorname{mean}_b (r^+_b + r^-_b)^2

    Args:
        chosen: ``(B,)`` scores of the better candidate.
        rejected: ``(B,)`` scores of the worse one.
        margin: ``m``, a number or ``(B,)``: by how much the chosen one should be ahead.
        centring: ``c``, which keeps scores around 0; with it a common shift does count.

    Returns:
        float32; 0 where there are no pairs.

    Raises:
        ValueError: scores of different shapes.
    """
    _check_pairs(chosen, rejected)
    with full_precision(chosen):
        chosen, rejected = chosen.float(), rejected.float()
        if not len(chosen):
            return chosen.sum() + rejected.sum()
        loss = F.softplus(rejected - chosen + margin).mean()
        return loss + centring * (chosen + rejected).square().mean() if centring else loss


def plackett_luce_loss(scores: Tensor, mask: Tensor, *, ranks: Tensor | None = None) -> Tensor:
    r"""How unlikely the given order of candidates is (Luce, 1959; Plackett, 1975).

    .. math:: L = -\operatorname{mean}_b \sum_i
        \Bigl(r_i - \log \sum_{j:\, \text{not better than } i} e^{r_j}\Bigr)

    Two candidates make it the loss of Bradley and Terry; it is the one that ScoreRS was trained
    with (arXiv:2503.00743). Candidates of equal rank are each taken from all that are not better
    (Breslow, 1974), so that their order has no influence and equal scores cost least.

    Args:
        scores: ``(B, N)``, best first.
        mask: ``(B, N)`` bool, True where there is a candidate, in any place. What stands elsewhere
            is never looked at, not even where it is not finite.
        ranks: ``(B, N)``, smaller is better, equal for ties, with gaps or without: another order
            than best first.

    Returns:
        float32, the mean over the rows with at least two candidates: others compare nothing. 0
        where there is no such row.

    Raises:
        ValueError: the shapes differ.
    """
    if scores.ndim != 2 or scores.shape != mask.shape:
        shapes = f"{tuple(scores.shape)} and {tuple(mask.shape)}"
        raise ValueError(f"scores and mask must both be (B, N), and are {shapes}")
    if ranks is None:
        ranks = torch.arange(scores.shape[1], device=scores.device).expand_as(scores)
    elif ranks.shape != scores.shape:
        raise ValueError(f"ranks of {tuple(ranks.shape)} for scores of {tuple(scores.shape)}")
    with full_precision(scores):
        kept = scores.float().masked_fill(~mask, 0.0)
        no_better = mask[:, None, :] & (ranks[:, None, :] >= ranks[:, :, None])  # (B, N, N)
        # A place without a candidate sees itself, so that no sum is empty.
        no_better = no_better | torch.eye(scores.shape[1], dtype=torch.bool, device=scores.device)
        pool = kept[:, None, :].expand_as(no_better).masked_fill(~no_better, -torch.inf)
        surprise = (pool.logsumexp(dim=2) - kept).masked_fill(~mask, 0.0).sum(dim=1)  # (B,)
        compared = mask.sum(dim=1) >= 2
        return surprise.masked_fill(~compared, 0.0).sum() / compared.sum().clamp(min=1)


def preference_accuracy(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Share of ``(B,)`` pairs in which the chosen candidate has the greater score; ties are wrong.

    Returns:
        float32; not a number where there are no pairs.

    Raises:
        ValueError: scores of different shapes.
    """
    _check_pairs(chosen, rejected)
    return (chosen > rejected).float().mean()


def _check_pairs(chosen: Tensor, rejected: Tensor) -> None:
    if chosen.ndim != 1 or chosen.shape != rejected.shape:
        shapes = f"{tuple(chosen.shape)} and {tuple(rejected.shape)}"
        raise ValueError(f"chosen and rejected scores must both be (B,), and are {shapes}")
