"""A small image-text model for tests: patch means, and letters of texts, projected."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cmid.models.dual_encoder import ImageFeatures

COLOURS = {"red": (230, 20, 20), "green": (20, 200, 30), "blue": (30, 40, 220)}


class ColourCLIP(nn.Module):
    """Embeds patches by their mean colour and texts by the colours that they name.

    A text without a colour gets an embedding from its letters, so that no two are equal.
    """

    def __init__(self, *, size: int = 16, patch: int = 4) -> None:
        super().__init__()
        self.size, self.patch = size, patch
        self.logit_scale = nn.Parameter(torch.tensor(3.0))
        self.mix = nn.Linear(3, 8)  # makes embeddings wider than colours
        self.dropout = nn.Dropout(0.5)  # evaluation must switch it off
        self.digest = "colours"
        self.encoded_texts: list[str] = []
        self.encoded_images = 0

    def encode_images(self, images: Tensor) -> ImageFeatures:
        assert images.dtype == torch.uint8
        assert tuple(images.shape[1:]) == (3, self.size, self.size)
        self.encoded_images += len(images)
        cells = nn.functional.avg_pool2d(images.float() / 127.5 - 1, self.patch)
        dense = self.mix(self.dropout(cells.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        return ImageFeatures(dense.mean(dim=(2, 3)), dense)

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        self.encoded_texts += texts
        return self.mix(torch.stack([self._colour(text) for text in texts]))

    def _colour(self, text: str) -> Tensor:
        named = [rgb for name, rgb in COLOURS.items() if name in text]
        if named:
            return torch.tensor(named).float().mean(dim=0) / 127.5 - 1
        seed = sum(ord(letter) * (k + 1) for k, letter in enumerate(text))
        return torch.randn(3, generator=torch.Generator().manual_seed(seed))


def coloured(name: str, height: int = 20, width: int = 20, *, noise: int = 20) -> Tensor:
    """``(3, height, width)`` uint8 of a colour with noise."""
    plain = torch.tensor(COLOURS[name]).reshape(3, 1, 1).expand(3, height, width)
    return (plain + torch.randint(-noise, noise + 1, (3, height, width))).clamp(0, 255).byte()
