"""Dense read-outs of a vision transformer's last block, which the model itself does not change.

A CLIP is trained through its class token only; what its patch tokens mean depends on how the last
block mixes them. The modes replace the block's attention map. Most drop its residual and its MLP as
well, ``maskclip`` and ``sclip`` among them, whose published forms keep both:

======================  ==============================================  ================  ==========
mode                    attention map                                   residual and MLP  source
======================  ==============================================  ================  ==========
``vanilla``             softmax(q k): the block as it is                yes               CLIP
``maskclip``            identity: every token keeps its own value       no                2112.01071
``maskclip_published``  the same                                        yes               2112.01071
``sclip``               softmax(q q) + softmax(k k)                     no                2312.01597
``sclip_published``     the same                                        yes               2312.01597
``clearclip``           softmax(q q)                                    no                2407.12442
``segearth``            softmax(q q) + softmax(k k) + softmax(v v)      no                2410.01768
======================  ==============================================  ================  ==========

Sources are numbers of arXiv. ``clearclip`` and ``segearth`` are published without both.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from timm.layers import Attention
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from cmid.vision_language.clip.config import DENSE_MODES, DenseMode

_PUBLISHED = "_published"  # ending of the modes that keep residual and MLP


def attend(query: Tensor, key: Tensor, value: Tensor, mode: DenseMode) -> Tensor:
    """Mix the values as a mode says; the maps of a mode add up.

    Args:
        query, key, value: ``(B, heads, L, d)``.
        mode: one of `DENSE_MODES`.

    Returns:
        ``(B, heads, L, d)``.

    Raises:
        ValueError: unknown mode.
    """
    kind = mode.removesuffix(_PUBLISHED)
    if mode not in DENSE_MODES:
        raise ValueError(f"dense mode {mode!r} is none of {', '.join(DENSE_MODES)}")
    if kind == "maskclip":
        return value
    pairs = {
        "vanilla": [(query, key)],
        "sclip": [(query, query), (key, key)],
        "clearclip": [(query, query)],
        "segearth": [(query, query), (key, key), (value, value)],
    }
    first, *others = (F.scaled_dot_product_attention(a, b, value) for a, b in pairs[kind])
    return sum(others, start=first)


class LastBlock:
    """A transformer block whose attention can be read in every mode.

    Keeps the tokens that enter the block and those that leave it, for the length of one pass.

    Args:
        block: pre-norm block of open_clip (``ln_1``, ``nn.MultiheadAttention``) or of timm
            (``norm1``, attention with one ``qkv`` layer).

    Raises:
        ValueError: a block of another kind.
    """

    def __init__(self, block: nn.Module) -> None:
        attention = getattr(block, "attn", None)
        # Blocks that norm after the attention, or run the MLP beside it, are others.
        pre_norm = isinstance(block, Block) and isinstance(attention, Attention)
        self.of_timm = pre_norm and getattr(attention, "gate", None) is None
        of_open_clip = isinstance(attention, nn.MultiheadAttention) and hasattr(block, "ln_1")
        if not (self.of_timm or of_open_clip):
            raise ValueError(
                f"{type(block).__name__} is no plain transformer block: it can only be read as"
                " 'vanilla'"
            )
        self.block: Any = block
        self.entered: Tensor | None = None
        self.left: Tensor | None = None
        block.register_forward_pre_hook(self._enter)
        block.register_forward_hook(self._leave)

    def _enter(self, module: nn.Module, args: Any) -> None:
        self.entered = args[0]

    def _leave(self, module: nn.Module, args: Any, output: Tensor) -> None:
        self.left = output

    def read(self, mode: DenseMode) -> Tensor:
        """Tokens ``(B, L, D)`` of the pass that just ran; they are forgotten with this call."""
        entered, left = self.entered, self.left
        self.entered = self.left = None
        if entered is None or left is None:
            raise RuntimeError("the block has not run since its tokens were read")
        if mode == "vanilla":
            return left
        mixed = self._reattend(entered, mode)
        return self._finish(entered + mixed) if mode.endswith(_PUBLISHED) else mixed

    def _finish(self, tokens: Tensor) -> Tensor:
        """The second half of the block: the MLP with its residual."""
        block = self.block
        if self.of_timm:
            return tokens + block.ls2(block.mlp(block.norm2(tokens)))
        return tokens + block.ls_2(block.mlp(block.ln_2(tokens)))

    def _reattend(self, tokens: Tensor, mode: DenseMode) -> Tensor:
        block, attention = self.block, self.block.attn
        if self.of_timm:
            heads, norm, scale = attention.num_heads, block.norm1, block.ls1
            projected = attention.qkv(norm(tokens))
        else:
            heads, norm, scale = attention.num_heads, block.ln_1, block.ls_1
            projected = F.linear(norm(tokens), attention.in_proj_weight, attention.in_proj_bias)
        query, key, value = projected.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4).unbind()
        if self.of_timm:
            query, key = attention.q_norm(query), attention.k_norm(key)
        mixed = attend(query, key, value, mode).transpose(1, 2).flatten(2)  # (B, L, D)
        if self.of_timm:
            return scale(attention.proj(attention.norm(mixed)))
        return scale(attention.out_proj(mixed))
