"""What the patches of an image hold of a text."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PatchAttention(nn.Module):
    """Queries that are made of a text attend to each other and to patches that know their place.

    Args:
        width: ``E``, that of the embeddings.
        queries: number of queries, such as one for each thing that a text speaks of.
        layers: decoder layers (self-attention, attention to patches, perceptron).
        heads: attention heads.
        waves: frequencies of a position along an axis.
    """

    def __init__(
        self, width: int, *, queries: int = 4, layers: int = 2, heads: int = 4, waves: int = 4
    ) -> None:
        super().__init__()
        self.queries = nn.Linear(width, queries * width)
        self.place = nn.Linear(4 * waves, width)
        layer = nn.TransformerDecoderLayer(
            width,
            heads,
            2 * width,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.decoder = nn.TransformerDecoder(layer, layers, norm=nn.LayerNorm(width))
        self.register_buffer("waves", math.pi * 2.0 ** torch.arange(waves) / 2, persistent=False)

    def forward(self, dense: Tensor, text: Tensor) -> Tensor:
        """Args: ``(B, E, N, M)`` patch features and ``(B, E)`` embeddings of texts.

        Returns:
            ``(B, E)``.
        """
        width = dense.shape[1]
        patches = F.normalize(dense.flatten(2).transpose(1, 2), dim=2) * math.sqrt(width)
        patches = patches + self.place(self._waves(dense.shape[2], dense.shape[3]))  # (B, N*M, E)
        queries = self.queries(text).unflatten(1, (-1, width))  # (B, Q, E)
        return self.decoder(queries, patches).mean(dim=1)

    def _waves(self, rows: int, columns: int) -> Tensor:
        """``(rows * columns, 4 * waves)`` sines and cosines of the places of patches."""
        waves: Tensor = self.waves  # type: ignore[assignment]
        y, x = (2 * (torch.arange(n, device=waves.device) + 0.5) / n - 1 for n in (rows, columns))
        grid = torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1).flatten(0, 1)  # (N*M, 2)
        phase = (grid[:, :, None] * waves).flatten(1)
        return torch.cat([phase.sin(), phase.cos()], dim=1)
