"""The loss of a language model's answers, and how much each learned token weighs in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from cmid.multimodal.tokens import IGNORED
from cmid.precision import full_precision

Average = Literal["tokens", "samples", "answers", "roots"]
Shared = Callable[[Tensor], Tensor]


def answer_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    average: Average = "tokens",
    shared: Shared | None = None,
    segments: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of the next token over what is learned, in float32; 0 where nothing is.

    Args:
        logits: ``(B, L, V)``, or ``(N, V)`` of the places before learned tokens, in their order.
        labels: ``(B, L)``, -100 where nothing is learned.
        average, segments: see `token_weights`.
        shared: of the sum of weights the mean over processes, so that their gradients average to
            those of one process.

    Raises:
        ValueError: another average.
    """
    labels = labels[:, 1:]
    learned = labels != IGNORED
    own = None if segments is None else segments[:, 1:]
    weights = token_weights(learned, average, own)[learned]
    total = weights.sum() if shared is None else shared(weights.sum())
    if not learned.any() or not total > 0:
        return 0 * logits.sum()
    with full_precision(logits):
        chosen = logits if logits.ndim == 2 else logits[:, :-1][learned]
        losses = F.cross_entropy(chosen.float(), labels[learned], reduction="none")
        return (losses * weights).sum() / total


def token_weights(learned: Tensor, average: Average, segments: Tensor | None = None) -> Tensor:
    """Weights ``(B, L)`` of learned tokens, 0 for all others.

    Args:
        learned: ``(B, L)`` bool.
        average: ``tokens`` all weigh the same, as published: long answers drown short ones.
            ``samples``: every conversation weighs the same; ``answers``: every answer;
            ``roots``: a token weighs 1 / sqrt(length of its answer).
        segments: ``(B, L)`` numbers of conversations in a row, where rows hold several; see
            `cmid.multimodal.splicing.share_prefix`.

    Raises:
        ValueError: another average.
    """
    if average not in get_args(Average):
        raise ValueError(f"average {average!r} is none of {', '.join(get_args(Average))}")
    ones = learned.float()
    if average == "tokens" or not learned.any():
        return ones
    if average == "samples":
        # Rows are conversations, or hold several behind what they share.
        run = torch.zeros_like(learned, dtype=torch.long) if segments is None else segments
        run = (run * learned).clamp(min=0)
    else:
        # Answers are runs of learned tokens: something of the template lies between any two.
        start = learned & ~F.pad(learned, (1, 0))[:, :-1]
        run = start.long().cumsum(dim=1) * learned  # (B, L), 0 outside of answers
    lengths = torch.zeros(len(run), int(run.max()) + 1, device=run.device)
    lengths = lengths.scatter_add(1, run, ones).gather(1, run).clamp(min=1)
    return ones / (lengths.sqrt() if average == "roots" else lengths)
