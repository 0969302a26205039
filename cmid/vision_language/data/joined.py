"""Several sources one behind the other."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from cmid.data.source import Draws, MinSize
from cmid.vision_language.data.source import ImageText, ImageTextSource


class JoinedTexts(ImageTextSource):
    """The images of several sources, those of the first one first.

    Args:
        sources: at least one.
    """

    def __init__(self, sources: Sequence[ImageTextSource]) -> None:
        if not sources:
            raise ValueError("there is no source to join: name some under sources")
        self.sources = [*sources]
        self.has_regions = any(source.has_regions for source in sources)
        self._ends = np.cumsum([len(source) for source in sources])

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def digest(self) -> str:
        return hashlib.sha256("".join(s.digest for s in self.sources).encode()).hexdigest()

    def name(self, index: int) -> str:
        source, own = self._place(index)
        return source.name(own)

    def captions(self, index: int) -> tuple[str, ...]:
        source, own = self._place(index)
        return source.captions(own)

    def decode(self, index: int, min_size: MinSize, generator: Draws) -> ImageText:
        source, own = self._place(index)
        return source.read(own, min_size=min_size, generator=generator)

    def _place(self, index: int) -> tuple[ImageTextSource, int]:
        number = int(np.searchsorted(self._ends, index, side="right"))
        return self.sources[number], index - int(self._ends[number] - len(self.sources[number]))
