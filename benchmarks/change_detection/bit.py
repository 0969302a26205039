"""The bitemporal image transformer (BIT), a head that compares two dates through a few tokens.

Chen, Qi and Shi, "Remote Sensing Image Change Detection with Transformers", arXiv:2103.00095.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.registry import MODELS
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention whose heads need not share out the channels (section III-C).

    Args:
        channels: width of queries, context and result.
        heads: number of heads. head_channels: width of each.
    """

    def __init__(self, channels: int, *, heads: int, head_channels: int) -> None:
        super().__init__()
        inner = heads * head_channels
        self.heads = heads
        self.query = nn.Linear(channels, inner, bias=False)
        self.key = nn.Linear(channels, inner, bias=False)
        self.value = nn.Linear(channels, inner, bias=False)
        self.out = nn.Linear(inner, channels)

    def forward(self, queries: Tensor, context: Tensor) -> Tensor:
        """Map ``(B, Q, C)`` queries and ``(B, K, C)`` context to ``(B, Q, C)``."""
        query, key, value = (
            project(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, ., d)
            for project, tokens in (
                (self.query, queries),
                (self.key, context),
                (self.value, context),
            )
        )
        attended = F.scaled_dot_product_attention(query, key, value)
        return self.out(attended.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention and a two-layer perceptron, both behind a LayerNorm and added to their input.

    With ``cross`` the context is another sequence (decoder), else the queries themselves (encoder).
    """

    def __init__(
        self, channels: int, *, heads: int, head_channels: int, expansion: int, cross: bool
    ) -> None:
        super().__init__()
        self.cross = cross
        self.norm = nn.LayerNorm(channels)
        self.attention = Attention(channels, heads=heads, head_channels=head_channels)
        self.mlp = nn.Sequential(
            nn.LayerNorm(channels),
            nn.Linear(channels, expansion * channels),
            nn.GELU(),
            nn.Linear(expansion * channels, channels),
        )

    def forward(self, queries: Tensor, context: Tensor | None = None) -> Tensor:
        """Map ``(B, Q, C)``, and ``(B, K, C)`` of a decoder's context, to ``(B, Q, C)``."""
        normed = self.norm(queries)
        attended = self.attention(normed, self.norm(context) if self.cross else normed)
        queries = queries + attended
        return queries + self.mlp(queries)


class BitemporalTransformer(nn.Module):
    """Tokenizer, encoder and decoder: each date's pixels are refined by both dates' tokens.

    1. Tokenizer: a 1x1 convolution gives each of L tokens a map, softmax over pixels makes it
       weights, and the token is the weighted mean of the pixels.
    2. Encoder: self-attention over the 2L tokens of both dates, with a position of their own.
    3. Decoder: cross-attention of each date's pixels to its L encoded tokens. No attention among
       pixels, and no position of theirs: a permutation of pixels permutes the result.

    Args:
        channels: C. tokens: L. encoder_depth, decoder_depth: number of blocks.
        heads, head_channels: attention heads, their width. expansion: hidden width of MLPs in C.
    """

    def __init__(
        self,
        channels: int = 32,
        *,
        tokens: int = 4,
        encoder_depth: int = 1,
        decoder_depth: int = 8,
        heads: int = 8,
        head_channels: int = 8,
        expansion: int = 2,
    ) -> None:
        super().__init__()
        form = {"heads": heads, "head_channels": head_channels, "expansion": expansion}
        self.tokenizer = nn.Conv2d(channels, tokens, 1, bias=False)
        self.position = nn.Parameter(torch.empty(1, 2 * tokens, channels))
        nn.init.trunc_normal_(self.position, std=0.02)
        self.encoder = nn.Sequential(
            *(Block(channels, **form, cross=False) for _ in range(encoder_depth))
        )
        self.decoder = nn.ModuleList(
            Block(channels, **form, cross=True) for _ in range(decoder_depth)
        )

    def forward(self, pair: Tensor) -> Tensor:
        """Refine ``(B, 2, C, h, w)``."""
        dates = pair.flatten(0, 1)  # (2B, C, h, w)
        pixels = dates.flatten(2).transpose(1, 2)  # (2B, hw, C)
        weights = self.tokenizer(dates).flatten(2).softmax(dim=-1)  # (2B, L, hw)
        tokens = (weights @ pixels).reshape(len(pair), -1, pixels.shape[-1])  # (B, 2L, C)
        tokens = self.encoder(tokens + self.position)
        tokens = tokens.reshape(len(dates), -1, tokens.shape[-1])  # (2B, L, C)
        for block in self.decoder:
            pixels = block(pixels, tokens)
        return pixels.transpose(1, 2).reshape(pair.shape)


@MODELS.register_module()
class BITHead(BaseDecodeHead):
    """Bitemporal image transformer, then a classifier of the difference of both dates.

    The paper takes one map of a ResNet-18 with strides removed. A backbone as pretrained has a
    pyramid; its maps get a 1x1 convolution to ``channels`` each, are enlarged to the finest one and
    added, which equals one 1x1 convolution of all of them concatenated. A single ``in_index`` is
    the paper's form.

    The refined dates are enlarged to the images' size; their absolute difference passes two 3x3
    convolutions (``conv_seg`` is the second).

    Args:
        in_channels, in_index: widths of the backbone's maps, and which are read, finest first.
        channels: C of the transformer.
        scale: stride of the finest map, by which the output is enlarged.
        transformer: further arguments of `BitemporalTransformer`.
        **more: as `mmseg.models.decode_heads.BaseDecodeHead`.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        *,
        in_index: Sequence[int],
        channels: int = 32,
        scale: int = 4,
        transformer: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(
            list(in_channels),
            channels,
            in_index=list(in_index),
            input_transform="multiple_select",
            **more,
        )
        self.scale = scale
        self.lateral = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in in_channels)
        self.transformer = BitemporalTransformer(channels, **(transformer or {}))
        self.classifier = ConvModule(
            channels, channels, 3, padding=1, norm_cfg=self.norm_cfg, act_cfg=self.act_cfg
        )
        self.conv_seg = nn.Conv2d(channels, self.out_channels, 3, padding=1)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Map pairs ``(B, 2, D, h, w)``, finest first, to logits ``(B, K, H, W)``."""
        first, *others = self._transform_inputs(inputs)
        fused = self.lateral[0](first.flatten(0, 1))  # (2B, C, h, w)
        for lateral, pair in zip(self.lateral[1:], others, strict=True):
            fused = fused + self._resized(lateral(pair.flatten(0, 1)), fused.shape[-2:])
        refined = self.transformer(fused.unflatten(0, (-1, 2)))
        # Enlarging is linear: the difference of enlarged dates, at half the cost.
        change = refined[:, 0] - refined[:, 1]
        height, width = change.shape[-2:]
        change = self._resized(change, (height * self.scale, width * self.scale)).abs()
        return self.cls_seg(self.classifier(change))

    def _resized(self, maps: Tensor, size: Sequence[int]) -> Tensor:
        return F.interpolate(
            maps, size=tuple(size), mode="bilinear", align_corners=self.align_corners
        )
