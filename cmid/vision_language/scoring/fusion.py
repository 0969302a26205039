"""A text that is read beside the patches of an image, token by token."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FusionEncoder(nn.Module):
    """Tokens of a text attend to each other and to patches that know their place.

    The cross-attention of ALBEF's and BLIP's fusion encoders (arXiv:2107.07651, 2201.12086), on
    towers that stay as they are. Pooled embeddings do not tell what lies above what: this does.

    Args:
        patch_width: ``E``, width of patches.
        token_width: ``D``, width of tokens.
        width: ``W``, of the layers and of the result.
        depth: number of layers.
        heads: attention heads of a layer.
        waves: frequencies of a place along an axis.
    """

    def __init__(
        self,
        patch_width: int,
        token_width: int,
        *,
        width: int = 128,
        depth: int = 2,
        heads: int = 4,
        waves: int = 4,
    ) -> None:
        super().__init__()
        self.width = width
        self.patches = nn.Sequential(nn.Linear(patch_width, width), nn.LayerNorm(width))
        self.place = nn.Linear(2 + 4 * waves, width)
        self.tokens = nn.Sequential(nn.Linear(token_width, width), nn.LayerNorm(width))
        self.layers = nn.ModuleList(
            nn.TransformerDecoderLayer(
                width,
                heads,
                dim_feedforward=2 * width,
                dropout=0.0,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        waves_ = math.pi / 2 * 2.0 ** torch.arange(waves)
        self.register_buffer("waves", waves_, persistent=False)

    def remember(self, dense: Tensor) -> Tensor:
        """Patches ``(B, E, N, M)`` with their places as ``(B, N*M, W)``; once for an image."""
        patches = F.normalize(dense.flatten(2).transpose(1, 2), dim=2) * math.sqrt(dense.shape[1])
        return self.patches(patches) + self.place(self._places(dense.shape[2], dense.shape[3]))

    def forward(self, memory: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """What texts find in images: the mean over their tokens.

        Args:
            memory: ``(B, N*M, W)`` of `remember`.
            tokens: ``(B, L, D)``.
            mask: ``(B, L)``, True where there is a token; at least one of each text.

        Returns:
            ``(B, W)``.
        """
        read = self.tokens(tokens)
        for layer in self.layers:
            read = layer(read, memory, tgt_key_padding_mask=~mask)
        weights = mask[:, :, None] / mask.sum(dim=1)[:, None, None]
        return (self.norm(read) * weights).sum(dim=1)

    def _places(self, rows: int, columns: int) -> Tensor:
        """``(rows * columns, 2 + 4 * waves)``: y and x in [-1, 1], their sines and cosines."""
        waves: Tensor = self.waves  # type: ignore[assignment]
        y, x = (2 * (torch.arange(n, device=waves.device) + 0.5) / n - 1 for n in (rows, columns))
        grid = torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1).flatten(0, 1)  # (N*M, 2)
        phase = (grid[:, :, None] * waves).flatten(1)
        return torch.cat([grid, phase.sin(), phase.cos()], dim=1)
