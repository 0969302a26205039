"""What the patches of an image hold of a text."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PatchAttention(nn.Module):
    """Queries that are made of a text look for things among patches that know their place.

    Args:
        width: ``E``, that of the embeddings.
        queries: number of queries, such as one for each thing that a text speaks of.
        heads: attention heads of each.
        waves: frequencies of a place along an axis.
    """

    def __init__(self, width: int, *, queries: int = 4, heads: int = 4, waves: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.ask = nn.Linear(width, queries * width)
        self.place = nn.Linear(4 * waves, width)
        self.keys_and_values = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Linear(2 * width, 2 * width),
        )
        self.answer = nn.Linear(queries * width, width)
        self.gate = nn.Linear(width, width)
        waves_ = math.pi / 2 * 2.0 ** torch.arange(waves)
        self.register_buffer("waves", waves_, persistent=False)

    def remember(self, dense: Tensor) -> Tensor:
        """Keys and values ``(B, N*M, 2E)`` of ``(B, E, N, M)`` patches; once for an image."""
        patches = F.normalize(dense.flatten(2).transpose(1, 2), dim=2) * math.sqrt(dense.shape[1])
        place = self.place(self._waves(dense.shape[2], dense.shape[3]))  # (N*M, E)
        return self.keys_and_values(patches + place)

    def forward(self, memory: Tensor, text: Tensor) -> Tensor:
        """What is found for texts.

        Args:
            memory: ``(B, N*M, 2E)`` of `remember`.
            text: ``(B, E)`` embeddings of unit variance.

        Returns:
            ``(B, 2E)``: what is found, and the same weighed by the text.
        """
        heads = (self.heads, text.shape[1] // self.heads)
        query = self.ask(text).unflatten(1, (-1, text.shape[1])).unflatten(2, heads)
        key, value = (part.unflatten(2, heads) for part in memory.chunk(2, dim=2))
        found = F.scaled_dot_product_attention(
            *(part.transpose(1, 2) for part in (query, key, value))
        )  # (B, heads, Q, E / heads)
        answer = self.answer(found.transpose(1, 2).flatten(1))
        return torch.cat([answer, answer * self.gate(text)], dim=1)

    def _waves(self, rows: int, columns: int) -> Tensor:
        """``(rows * columns, 4 * waves)`` sines and cosines of the places of patches."""
        waves: Tensor = self.waves  # type: ignore[assignment]
        y, x = (2 * (torch.arange(n, device=waves.device) + 0.5) / n - 1 for n in (rows, columns))
        grid = torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1).flatten(0, 1)  # (N*M, 2)
        phase = (grid[:, :, None] * waves).flatten(1)
        return torch.cat([phase.sin(), phase.cos()], dim=1)
