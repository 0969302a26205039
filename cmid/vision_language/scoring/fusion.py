"""A text that is read beside the patches of an image, token by token."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FusionEncoder(nn.Module):
    """Tokens of a text, read together, look for patches that know their place; then read again.

    The cross-attention of ALBEF's and BLIP's fusion encoders (arXiv:2107.07651, 2201.12086) between
    two layers of self-attention. Pooled embeddings do not tell what lies above what: this does,
    since each token brings the place of what it names.

    Args:
        patch_width: ``E``, width of patches.
        token_width: ``D``, width of tokens.
        width: ``W``, of the layers and of the result.
        heads: attention heads of a layer.
        waves: frequencies of a place along an axis.
    """

    def __init__(
        self,
        patch_width: int,
        token_width: int,
        *,
        width: int = 128,
        heads: int = 4,
        waves: int = 4,
    ) -> None:
        super().__init__()
        self.width, self.heads = width, heads
        self.patches = nn.Sequential(nn.Linear(patch_width, width), nn.LayerNorm(width))
        self.place = nn.Linear(2 + 4 * waves, width)
        self.key_and_value = nn.Linear(width, 2 * width)
        self.tokens = nn.Sequential(nn.Linear(token_width, width), nn.LayerNorm(width))
        self.query = nn.Linear(width, width)
        self.found = nn.Linear(width, width)
        self.before, self.after = (
            nn.TransformerEncoderLayer(
                width,
                heads,
                dim_feedforward=2 * width,
                dropout=0.0,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(2)
        )
        self.norm = nn.LayerNorm(width)
        waves_ = math.pi / 2 * 2.0 ** torch.arange(waves)
        self.register_buffer("waves", waves_, persistent=False)

    def remember(self, dense: Tensor) -> Tensor:
        """Keys and values ``(B, N*M, 2W)`` of ``(B, E, N, M)`` patches; once for an image."""
        patches = F.normalize(dense.flatten(2).transpose(1, 2), dim=2) * math.sqrt(dense.shape[1])
        place = self.place(self._places(dense.shape[2], dense.shape[3]))
        return self.key_and_value(self.patches(patches) + place)

    def forward(self, memory: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """What texts find in images: the mean over their tokens.

        Args:
            memory: ``(B, N*M, 2W)`` of `remember`.
            tokens: ``(B, L, D)``.
            mask: ``(B, L)``, True where there is a token; at least one of each text.

        Returns:
            ``(B, W)``.
        """
        read = self.before(self.tokens(tokens), src_key_padding_mask=~mask)
        query, key, value = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in (self.query(F.layer_norm(read, read.shape[-1:])), *memory.chunk(2, dim=2))
        )
        found = F.scaled_dot_product_attention(query, key, value)  # (B, heads, L, W / heads)
        read = read + self.found(found.transpose(1, 2).flatten(2))
        read = self.after(read, src_key_padding_mask=~mask)
        weights = mask[:, :, None] / mask.sum(dim=1)[:, None, None]
        return (self.norm(read) * weights).sum(dim=1)

    def _places(self, rows: int, columns: int) -> Tensor:
        """``(rows * columns, 2 + 4 * waves)``: y and x in [-1, 1], their sines and cosines."""
        waves: Tensor = self.waves  # type: ignore[assignment]
        y, x = (2 * (torch.arange(n, device=waves.device) + 0.5) / n - 1 for n in (rows, columns))
        grid = torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1).flatten(0, 1)  # (N*M, 2)
        phase = (grid[:, :, None] * waves).flatten(1)
        return torch.cat([grid, phase.sin(), phase.cos()], dim=1)
