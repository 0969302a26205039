"""How much each learned token weighs in the loss."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

Average = Literal["tokens", "samples", "answers", "roots"]


def token_weights(learned: Tensor, average: Average, segments: Tensor | None = None) -> Tensor:
    """Weights ``(B, L)`` of learned tokens, 0 for all others.

    Args:
        learned: ``(B, L)`` bool.
        average: ``tokens`` all weigh the same; ``samples``: every conversation weighs the same;
            ``answers``: every answer; ``roots``: a token weighs 1 / sqrt(length of its answer).
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
