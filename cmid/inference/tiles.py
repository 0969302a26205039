"""Overlapping tiles of a scene, and how much each counts where they overlap."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cmid.data.windows import Window, window_starts


@dataclass(frozen=True, kw_only=True)
class TileGrid:
    """Square tiles that cover a scene, whose results fade into each other.

    From a border between tiles inwards the result of a tile counts nothing for ``halo`` pixels,
    then rises along a cosine for ``overlap`` pixels. A convolutional network that sees no further
    than ``halo`` so gives what it would give on the whole scene. At the border of the scene a
    result counts in full. All lengths but the scene's are in pixels and multiples of ``stride``.

    Attributes:
        height, width: of the scene. size: side of a tile, with its halo.
        halo: pixels at the borders of a tile that are only context.
        overlap: pixels over which neighbours fade into each other.
        stride: of the model; tiles start at multiples of it.
        alike: results are averaged where tiles overlap, instead.

    Raises:
        ValueError: lengths that are no multiples of ``stride``, or halo and overlap that leave
            nothing of a tile.
    """

    height: int
    width: int
    size: int
    halo: int
    overlap: int
    stride: int = 1
    alike: bool = False

    def __post_init__(self) -> None:
        odd = [n for n in (self.size, self.halo, self.overlap) if n < 0 or n % self.stride]
        if odd:
            raise ValueError(
                f"tile {self.size}, halo {self.halo} and overlap {self.overlap} must be multiples"
                f" of the model's stride {self.stride}"
            )
        if self.step <= 0:
            raise ValueError(
                f"halo {self.halo} at both sides and overlap {self.overlap} leave nothing of a tile"
                f" of {self.size}: enlarge the tile"
            )

    @property
    def step(self) -> int:
        """Pixels from one tile to the next."""
        return self.size - 2 * self.halo - self.overlap

    @cached_property
    def padded(self) -> tuple[int, int]:
        """Height and width of what the tiles cover, the scene and what fills its last tile up."""
        height, width = (
            max(self.size, -(-length // self.stride) * self.stride)
            for length in (self.height, self.width)
        )
        return height, width

    @cached_property
    def tops(self) -> list[int]:
        """First rows of the rows of tiles."""
        return window_starts(self.padded[0], self.size, self.step)

    @cached_property
    def lefts(self) -> list[int]:
        """First columns of the columns of tiles."""
        return window_starts(self.padded[1], self.size, self.step)

    def row(self, number: int) -> list[Window]:
        """The tiles of a row, from left to right."""
        return [Window(self.tops[number], left, self.size, self.size) for left in self.lefts]

    def weights(self, window: Window, cell: int) -> NDArray[np.float32]:
        """How much the cells of a tile count, ``(size / cell, size / cell)`` in [0, 1].

        Args:
            cell: pixels per cell of the result, a divisor of ``stride``.
        """
        rows = self._profile(window.top, self.tops, cell)
        return np.outer(rows, self._profile(window.left, self.lefts, cell))

    def totals(self, cell: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Sums of all tiles' weights along the rows and the columns of the padded scene.

        Their outer product is the sum of the weights at every cell.
        """
        sums = []
        for length, starts in zip(self.padded, (self.tops, self.lefts), strict=True):
            total = np.zeros(length // cell, dtype=np.float32)
            for start in starts:
                first = start // cell
                total[first : first + self.size // cell] += self._profile(start, starts, cell)
            sums.append(total)
        return sums[0], sums[1]

    def _profile(self, start: int, starts: list[int], cell: int) -> NDArray[np.float32]:
        weights = np.ones(self.size // cell, dtype=np.float32)
        if self.alike:
            return weights
        fade = self.overlap // cell
        cosine = 0.5 - 0.5 * np.cos(np.pi * (np.arange(fade) + 0.5) / max(1, fade))
        rise = np.concatenate([np.zeros(self.halo // cell), cosine]).astype(np.float32)
        if start != starts[0]:
            weights[: len(rise)] *= rise
        if start != starts[-1]:
            weights[len(weights) - len(rise) :] *= rise[::-1]
        return weights
