"""Windows of images: where they start, places drawn at random, and pixels beyond the border."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Window(NamedTuple):
    """A rectangle of whole pixels; it may reach over the border of its image."""

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns, to index ``(..., H, W)`` or ``(H, W, ...)`` with."""
        return (
            slice(self.top, self.top + self.height),
            slice(self.left, self.left + self.width),
        )

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom."""
        return self.left, self.top, self.left + self.width, self.top + self.height

    def inside(self, height: int, width: int) -> Window:
        """The part that lies within an image."""
        rows, columns = min(self.height, height - self.top), min(self.width, width - self.left)
        return Window(self.top, self.left, rows, columns)


def window_starts(length: int, size: int, stride: int) -> list[int]:
    """Starts of windows along one side, every ``stride`` pixels; the last one ends at the border.

    Raises:
        ValueError: a window longer than the image, or a stride that leaves gaps.
    """
    if size > length or not 0 < stride <= size:
        raise ValueError(f"windows of {size} with stride {stride} do not cover {length} pixels")
    return [*range(0, length - size, stride), length - size]


def tile(
    height: int, width: int, *, size: int, stride: int | None = None, moved: bool = True
) -> list[Window]:
    """Square windows that cover an image, row by row.

    Args:
        height, width: size of the image in pixels.
        size: side of the windows.
        stride: pixels between their starts; ``size`` by default, so that they do not overlap.
        moved: the last ones of a row and a column are moved inside the image; False keeps the grid,
            so that they reach over the border, as all windows of a smaller image do.

    Raises:
        ValueError: a stride that leaves gaps.
    """
    stride = stride or size
    if moved:
        sides = (max(length, size) for length in (height, width))
        tops, lefts = (window_starts(length, size, stride) for length in sides)
    else:
        tops, lefts = ([*range(0, length, stride)] for length in (height, width))
    return [Window(top, left, size, size) for top in tops for left in lefts]


def draw_window(height: int, width: int, size: int, generator: np.random.Generator) -> Window:
    """A square anywhere in an image, smaller than ``size`` where the image is."""
    side = min(size, height, width)
    top, left = (int(generator.integers(length - side + 1)) for length in (height, width))
    return Window(top, left, side, side)


def fill_up(
    pixels: NDArray[Any], size: tuple[int, int], fill: float | Sequence[float]
) -> NDArray[Any]:
    """Pixels ``(H, W, ...)`` at the upper left of an area of ``size``; the rest is ``fill``.

    Args:
        fill: one value, or one for each band.
    """
    if pixels.shape[:2] == tuple(size):
        return pixels
    filled: NDArray[Any] = np.full((*size, *pixels.shape[2:]), fill, dtype=pixels.dtype)
    filled[: pixels.shape[0], : pixels.shape[1]] = pixels
    return filled


def cut(pixels: NDArray[Any], window: Window, *, fill: float | Sequence[float]) -> NDArray[Any]:
    """A window of ``(H, W, ...)``, with ``fill`` beyond the border."""
    return fill_up(pixels[window.slices], (window.height, window.width), fill)
