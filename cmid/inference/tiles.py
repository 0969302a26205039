"""Overlapping tiles of a scene, and how much each counts where they overlap."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cmid.data.windows import Window, window_starts


class Reach(NamedTuple):
    """What of one side of a scene a tile counts for, in cells.

    Attributes:
        start: its first cell. first: the first one that it counts for.
        done: the first one that the next tile counts for, too. stop: the first one that it does not
            count for any more.
    """

    start: int
    first: int
    done: int
    stop: int


@dataclass(frozen=True, kw_only=True)
class TileGrid:
    """Square tiles that cover a scene, whose results fade into each other.

    From a border between tiles inwards the result of a tile counts nothing for ``halo`` pixels,
    then rises along a cosine for ``overlap`` pixels, while that of the tile before it falls. A
    convolutional network that sees no further than ``halo`` so gives what it would give on the
    whole scene. At the border of the scene a result counts in full. All lengths but the scene's are
    in pixels and multiples of ``stride``.

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

    def tile(self, row: int, column: int) -> Window:
        """A tile by the numbers of its row and its column."""
        return Window(self.tops[row], self.lefts[column], self.size, self.size)

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

    def reaches(self, cell: int) -> tuple[list[Reach], list[Reach]]:
        """What each row and each column of tiles counts for."""
        sides = []
        for starts in (self.tops, self.lefts):
            side = []
            for number, start in enumerate(starts):
                first = start + self.halo if number else 0
                done = stop = start + self.size
                if number + 1 < len(starts):
                    done = starts[number + 1] + self.halo
                    stop = stop if self.alike else done + self.overlap
                side.append(Reach(*(n // cell for n in (start, first, done, stop))))
            sides.append(side)
        return sides[0], sides[1]

    def _profile(self, start: int, starts: list[int], cell: int) -> NDArray[np.float32]:
        weights = np.ones(self.size // cell, dtype=np.float32)
        if self.alike:
            return weights
        halo, fade = self.halo // cell, self.overlap // cell
        rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(fade) + 0.5) / max(1, fade))
        rise = rise.astype(np.float32)
        if start != starts[0]:
            weights[:halo] = 0
            weights[halo : halo + fade] *= rise
        if start != starts[-1]:
            # The last tile lies closer to the one before it than others do.
            done = (starts[starts.index(start) + 1] - start) // cell + halo
            weights[done : done + fade] *= rise[::-1]
            weights[done + fade :] = 0
        return weights
