"""The text tower: tokenizer and transformer of open_clip, with longer texts as an option."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

KEPT_POSITIONS = 20


@dataclass(frozen=True)
class TextFeatures:
    """``N`` texts as a whole and token by token.

    Attributes:
        pooled: ``(N, E)``, not normalised.
        tokens: ``(N, L, D)`` as the last layer leaves them.
        mask: ``(N, L)`` bool, True where a text has a token.
    """

    pooled: Tensor
    tokens: Tensor
    mask: Tensor


class TextTower(nn.Module):
    """From texts to features of width ``E``.

    Args:
        module: text transformer of open_clip: ``(B, L)`` tokens to ``(B, E)``.
        tokenizer: texts to ``(B, L)`` int64; cuts off what is longer than the context.
    """

    def __init__(self, module: Any, tokenizer: Any) -> None:
        super().__init__()
        self.module = module
        self.tokenizer = tokenizer

    @property
    def context_length(self) -> int:
        """Tokens of a text, the two marks of its ends included."""
        return self.module.context_length

    @property
    def token_width(self) -> int:
        """``D``, the width of tokens."""
        if hasattr(self.module, "width"):
            return self.module.width
        return self.module.config.hidden_size  # open_clip's adapter of transformers

    def too_long(self, texts: Sequence[str]) -> list[bool]:
        """Of each of ``N`` texts, whether the context cuts off its end."""
        context = self.context_length
        tokens = self.tokenizer([*texts, ""], context_length=2 * context)
        padding = tokens[-1, -1]  # the last one is empty
        return (tokens[:-1, context] != padding).tolist()

    def forward(self, texts: Sequence[str]) -> Tensor:
        """Embed ``N`` texts: ``(N, E)``, not normalised."""
        return self._run(texts)[0]

    def read(self, texts: Sequence[str]) -> TextFeatures:
        """Embed ``N`` texts and their tokens."""
        self.module.output_tokens = True
        try:
            (pooled, tokens), lengths = self._run(texts)
        finally:
            self.module.output_tokens = False
        places = torch.arange(tokens.shape[1], device=tokens.device)
        return TextFeatures(pooled, tokens, places < lengths[:, None])

    def _run(self, texts: Sequence[str]) -> tuple[Any, Tensor]:
        """What the module makes of texts, and how many of its tokens belong to each."""
        module = self.module
        device = next(module.parameters()).device
        tokens = self.tokenizer(list(texts), context_length=self.context_length).to(device)
        if not _reads_to_the_end_mark(module):
            return module(tokens), torch.full_like(tokens[:, 0], tokens.shape[1])
        # Nothing looks beyond the end mark, the largest token: padding is not computed.
        lengths = tokens.argmax(dim=1) + 1
        length = int(lengths.max())
        mask = module.attn_mask
        module.attn_mask = mask[:length, :length]
        try:
            return module(tokens[:, :length]), lengths
        finally:
            module.attn_mask = mask


def _reads_to_the_end_mark(module: Any) -> bool:
    """Whether a text transformer is causal and pooled at the end mark, as CLIP's is."""
    return (
        getattr(module, "attn_mask", None) is not None
        and getattr(module, "pool_type", None) == "argmax"
        and module.cls_emb is None
        and not module.use_pad_mask
    )


def lengthen(module: Any, context_length: int) -> None:
    """Let a text transformer of open_clip take longer texts (Long-CLIP, arXiv:2403.15378).

    Positions are stretched by `stretch_positions`. Texts that end within the first
    ``KEPT_POSITIONS`` tokens keep their embedding exactly: attention is causal, and their positions
    stay. For this to hold after training, gradients of those positions are set to zero.

    Raises:
        ValueError: no causal text transformer of open_clip, or not a longer context.
    """
    mask = getattr(module, "attn_mask", None)
    if not isinstance(getattr(module, "positional_embedding", None), nn.Parameter) or mask is None:
        raise ValueError("only causal text transformers of open_clip take longer texts")
    positions = stretch_positions(module.positional_embedding.detach(), context_length)
    module.positional_embedding = nn.Parameter(positions)
    module.num_pos = module.context_length = context_length
    causal = module.build_causal_mask()
    module.register_buffer("attn_mask", causal.to(mask.device, mask.dtype), persistent=False)
    freeze_kept_positions(module)


def freeze_kept_positions(module: Any) -> None:
    """Keep the first ``KEPT_POSITIONS`` position embeddings from being trained."""

    def keep(gradient: Tensor) -> Tensor:
        rows = torch.arange(len(gradient), device=gradient.device)
        return gradient * (rows >= KEPT_POSITIONS)[:, None].to(gradient.dtype)

    module.positional_embedding.register_hook(keep)


def stretch_positions(positions: Tensor, length: int, *, kept: int = KEPT_POSITIONS) -> Tensor:
    """Stretch position embeddings: the first ``kept`` stay, the others are spread evenly.

    77 positions become 248 by a factor of four: embedding ``kept + i`` moves to ``kept + 4 i``,
    those between are interpolated linearly, those behind the last one follow its slope.

    Args:
        positions: ``(n, D)``.
        length: a multiple of ``n - kept`` above ``kept``.

    Returns:
        ``(length, D)``.

    Raises:
        ValueError: a length that is no such multiple, with the nearest ones that are.
    """
    rest = len(positions) - kept
    factor, remainder = divmod(length - kept, rest)
    if factor < 1 or remainder:
        raise ValueError(
            f"context_length {length} does not fit: {kept} + {rest} x a whole number does, such as"
            f" {kept + rest * max(1, factor)} or {kept + rest * max(2, factor + 1)}"
        )
    place = torch.arange(length - kept, device=positions.device) / factor
    # The last pair of embeddings serves those behind it as well: a share above 1 extrapolates.
    start = place.long().clamp(max=rest - 2)
    share = (place - start)[:, None].to(positions.dtype)
    first, second = positions[kept + start], positions[kept + start + 1]
    return torch.cat([positions[:kept], first + share * (second - first)])
