"""Layouts of feature maps: timm's families keep channels, cells and extra tokens differently."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn


@dataclass(frozen=True)
class FeatureMap:
    """How a module lays out its feature map.

    Attributes:
        layout: order of the axes; L are the cells of a token sequence, row by row.
        width: number of features per cell ``D``.
        stride: pixels per cell.
        prefix: tokens before the cells (class and register tokens).
    """

    layout: Literal["NCHW", "NHWC", "NLC"]
    width: int
    stride: int
    prefix: int = 0

    @classmethod
    def of(cls, features: Tensor, size: tuple[int, int], *, prefix: int, axes: str) -> FeatureMap:
        """Describe the output of a module.

        Args:
            features: ``(B, D, N, M)``, ``(B, N, M, D)`` or ``(B, prefix + N*M, D)``.
            size: height and width of the image.
            prefix: tokens before the cells, if it is a sequence.
            axes: order of four axes, used where both fit.

        Raises:
            ValueError: the sizes fit no layout.
        """
        height, width = size
        if features.ndim == 3:
            cells = features.shape[1] - prefix
            stride = math.isqrt(height * width // max(cells, 1))
            if stride and (height // stride) * (width // stride) == cells:
                return cls("NLC", features.shape[2], stride, prefix)
        if features.ndim == 4:
            _, a, b, c = features.shape
            fits = {"NCHW": height * c == width * b, "NHWC": height * b == width * a}
            layout = axes if fits.get(axes) else next((k for k, v in fits.items() if v), None)
            if layout == "NCHW":
                return cls("NCHW", a, height // b)
            if layout == "NHWC":
                return cls("NHWC", c, height // a)
        raise ValueError(f"{tuple(features.shape)} is not a map of an image of {height}x{width}")

    def to_dense(self, features: Tensor, grid: tuple[int, int]) -> Tensor:
        """Bring features to ``(B, D, N, M)``, where ``grid`` is ``(N, M)``."""
        if self.layout == "NHWC":
            return features.permute(0, 3, 1, 2)
        if self.layout == "NLC":
            return features[:, self.prefix :].transpose(1, 2).unflatten(2, grid)
        return features

    def from_dense(self, dense: Tensor) -> Tensor:
        """Undo :meth:`to_dense`; prefix tokens become zeros, which an average over cells skips."""
        if self.layout == "NHWC":
            return dense.permute(0, 2, 3, 1)
        if self.layout == "NLC":
            tokens = dense.flatten(2).transpose(1, 2)  # (B, N*M, D)
            return nn.functional.pad(tokens, (0, 0, self.prefix, 0))
        return dense
