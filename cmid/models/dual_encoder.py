"""What the rest of the library knows of a model with an image tower and a text tower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import Tensor


class ImageFeatures(NamedTuple):
    """Both read-outs of one pass through an image tower, in the space of the texts.

    Attributes:
        pooled: ``(B, E)`` projected, not normalised.
        dense: ``(B, E, N, M)`` projected patch features, not normalised.
    """

    pooled: Tensor
    dense: Tensor


class ImageTextModel(Protocol):
    """An image tower and a text tower with a common embedding space (a dual encoder)."""

    @property
    def digest(self) -> str:
        """Hash of architecture and weights, a key for cached embeddings."""

    @property
    def size(self) -> int:
        """Pixels per side of its input."""

    @property
    def logit_scale(self) -> Tensor:
        """Natural logarithm of the factor of cosine similarities; lies on the model's device."""

    def encode_images(self, images: Tensor) -> ImageFeatures:
        """Encode ``(B, 3, size, size)`` uint8 images as they are stored."""

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Encode texts to ``(N, E)``, not normalised."""
