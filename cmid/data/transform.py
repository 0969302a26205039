"""What a worker does with one image before it joins a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np


class SampleTransform(ABC):
    """Reads one image of a source and makes a sample (a dict of tensors) of it.

    The transform reads the image itself, because it knows before decoding how much of it, and at
    which resolution, it will need.

    Attributes:
        size: height and width in pixels of the images in the samples.
    """

    size: int

    @abstractmethod
    def sample(self, source: Any, index: int, generator: np.random.Generator) -> dict[str, Any]:
        """Make the sample of image ``index``, all randomness from ``generator``.

        Raises:
            UnreadableImageError: the image could not be decoded.
        """
