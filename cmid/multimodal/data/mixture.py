"""Several sources as one, each with its share of an epoch."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain, islice

import numpy as np
from numpy.typing import NDArray

from cmid.multimodal.data.source import ConversationSource, Example


class Mixture(ConversationSource):
    """Examples of several sources by weight.

    Which example a number stands for depends on seed and epoch alone: the sampler may shuffle and
    divide the numbers among processes, and a run may go on anywhere, and weights stay exact. A
    source's examples come in random order, all of them before any comes again, over epochs.

    Args:
        sources: at least one, of images of the same bands and boxes of the same form.
        weights: share of each source, of any sum; by default their numbers of examples.
        length: examples of an epoch; by default as many as there are.
        seed: random seed of the order within sources.

    Raises:
        ValueError: other numbers of weights, a weight of 0 or less, or sources that do not fit.
    """

    def __init__(
        self,
        sources: Sequence[ConversationSource],
        weights: Sequence[float] | None = None,
        *,
        length: int | None = None,
        seed: int = 0,
    ) -> None:
        sizes = [len(source) for source in sources]
        weights = sizes if weights is None else list(weights)
        if not sources or len(weights) != len(sources) or min(weights) <= 0:
            raise ValueError(
                f"weights {[*weights]} of {len(sources)} sources: give each one a weight above 0"
            )
        kinds = {(source.num_bands, source.boxes) for source in sources}
        if len(kinds) > 1:
            raise ValueError(
                f"sources differ in bands or the form of boxes: {sorted(map(str, kinds))}"
            )
        ((self.num_bands, self.boxes),) = kinds
        self.single_turn = all(source.single_turn for source in sources)
        self.sources, self.seed, self.epoch = tuple(sources), seed, 0
        total = sum(sizes) if length is None else length
        ends = np.cumsum(weights) / sum(weights) * total
        self._starts = [0, *(round(end) for end in ends.tolist())]

    def __len__(self) -> int:
        return self._starts[-1]

    def of_epoch(self, epoch: int) -> Mixture:
        own = copy.copy(self)
        own.epoch = epoch
        own.sources = tuple(source.of_epoch(epoch) for source in self.sources)
        return own

    def place(self, index: int) -> tuple[int, int]:
        """Number of the source, and of the example in it."""
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        first, last = self._starts[number], self._starts[number + 1]
        drawn = self.epoch * (last - first) + index - first
        turn, at = divmod(drawn, len(self.sources[number]))
        return number, int(_order(self.seed, number, turn, len(self.sources[number]))[at])

    def read(self, index: int, *, generator: np.random.Generator | None = None) -> Example:
        number, own = self.place(index)
        return self.sources[number].read(own, generator=generator)

    def length(self, index: int) -> int | None:
        number, own = self.place(index)
        return self.sources[number].length(own)

    def texts(self, limit: int = 500) -> Iterator[str]:
        share = -(-limit // len(self.sources))
        return islice(chain.from_iterable(s.texts(share) for s in self.sources), 20 * limit)


@lru_cache(maxsize=32)
def _order(seed: int, number: int, turn: int, length: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, number, turn)).permutation(length)
