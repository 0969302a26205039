"""Batches of texts of about one length."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from cmid.data.resumable import ResumableSampler, SampleDataset


class LengthSampler(ResumableSampler):
    """A random order, of which some batches at a time are sorted by length and then shuffled.

    All processes take their samples from one batch of the whole, so that they wait little for each
    other. Each sample comes once in an epoch, but for those that fill no batch of all processes.

    Args:
        batch_size: samples per process and step.
        batches: of the whole that are sorted together.
    """

    def __init__(
        self, dataset: SampleDataset, *, batch_size: int, batches: int, **share: Any
    ) -> None:
        super().__init__(dataset, **share)
        self.batch_size, self.batches = batch_size, batches
        whole = batch_size * self.num_replicas
        self.num_samples = len(dataset) // whole * batch_size

    def order(self) -> Iterator[int]:
        source: Any = self.dataset.source  # type: ignore[attr-defined]
        source = source.of_epoch(self.epoch)
        draws = np.random.default_rng((self.seed, self.epoch))
        whole = self.batch_size * self.num_replicas
        count = len(source) // whole * whole
        indices = draws.permutation(len(source))[:count]
        for first in range(0, count, whole * self.batches):
            group = indices[first : first + whole * self.batches]
            lengths = np.array([source.length(int(index)) for index in group])
            group = group[np.argsort(lengths, kind="stable")].reshape(-1, whole)
            for batch in draws.permutation(group):
                yield from batch[self.rank :: self.num_replicas].tolist()
