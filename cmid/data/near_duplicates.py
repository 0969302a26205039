"""Near-duplicates among embeddings: pairs beyond a cosine, and the groups that they form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

Keep = Literal["central", "first"]
Search = Literal["exact", "faiss"]
Rows = NDArray[np.int64]

_TILE = 2048  # rows at a time: 16 MB of similarities
_PENDING = 4_000_000  # pairs that are held before they are merged
_LISTS_PROBED = 32


@dataclass(frozen=True)
class DuplicateGroups:
    """Rows in groups; a row without near-duplicates is a group of its own.

    Attributes:
        labels: ``(N,)`` int64, group of each row, numbered in the order of their first rows.
        kept: ``(G,)`` int64, the row that stands for each group, ascending with the labels.
    """

    labels: Rows
    kept: Rows

    @property
    def sizes(self) -> Rows:
        """``(G,)`` number of rows of each group."""
        return np.bincount(self.labels, minlength=len(self.kept))


def near_duplicates(
    embeddings: Tensor | Sequence[Tensor],
    threshold: float = 0.65,
    *,
    keep: Keep = "central",
    search: Search = "exact",
) -> DuplicateGroups:
    """Group rows whose cosine similarity is beyond a threshold, directly or by a chain of others.

    Chains join what is not alike: look at the sizes. Memory grows with the number of rows, not
    with that of the pairs (ScoreRS, arXiv:2503.00743, joins copies at 0.65).

    Args:
        embeddings: ``(N, D)`` of any length and floating type, or several of ``N`` rows that have
            to be similar at once (an image and the question about it).
        keep: ``central`` keeps the row of a group with the highest mean similarity (of the first
            embeddings) to the group; ``first`` keeps the first.
        search: ``exact`` compares all pairs; ``faiss`` those in the 32 nearest cells of an inverted
            index of the first embeddings, for millions of rows. It may miss pairs, never add some.

    Raises:
        ModuleNotFoundError: faiss is not installed.
        ValueError: a row is zero or not finite, the numbers of rows differ, or the threshold is
            not in (-1, 1).
    """
    several = [embeddings] if isinstance(embeddings, Tensor) else [*embeddings]
    units = [_unit_rows(each) for each in several]
    count = len(units[0])
    if any(len(each) != count for each in units):
        raise ValueError(
            f"embeddings of {[len(each) for each in units]} rows: give as many of each"
        )
    found = similar_pairs(units[0], threshold=threshold, search=search)
    forest = _Forest(count)
    for first, second, _ in found:
        for unit in units[1:]:
            alike = (unit[first] * unit[second]).sum(dim=1).numpy() > threshold
            first, second = first[alike], second[alike]
        forest.join(first, second)
    labels = forest.labels()
    return DuplicateGroups(labels, _representatives(units[0], labels, keep))


def similar_pairs(
    embeddings: Tensor,
    others: Tensor | None = None,
    *,
    threshold: float,
    search: Search = "exact",
) -> Iterator[tuple[Rows, Rows, NDArray[np.float32]]]:
    """Yield pairs of rows whose cosine similarity is greater than a threshold, some at a time.

    Args:
        embeddings: ``(N, D)``.
        others: ``(M, D)`` to find their neighbours among; None compares the rows with each other,
            each pair once, the smaller number first.
        search: see `near_duplicates`.

    Yields:
        Row of ``embeddings``, row of ``others``, and similarity: three arrays of one length.

    Raises:
        ModuleNotFoundError, ValueError: as `near_duplicates`.
    """
    if not -1 < threshold < 1:
        raise ValueError(f"the threshold of a cosine is {threshold}: give one between -1 and 1")
    first = _unit_rows(embeddings)
    second = first if others is None else _unit_rows(others)
    pairs = _compare_all if search == "exact" else _search_index
    for rows, columns, cosine in pairs(first, second, threshold):
        ordered = slice(None) if others is not None else rows < columns
        yield rows[ordered], columns[ordered], cosine[ordered]


_Pairs = Iterator[tuple[Rows, Rows, NDArray[np.float32]]]


def _compare_all(first: Tensor, second: Tensor, threshold: float) -> _Pairs:
    for top in range(0, len(first), _TILE):
        block = first[top : top + _TILE]
        for left in range(top if second is first else 0, len(second), _TILE):
            cosine = block @ second[left : left + _TILE].T
            rows, columns = (cosine > threshold).nonzero(as_tuple=True)
            yield (rows + top).numpy(), (columns + left).numpy(), cosine[rows, columns].numpy()


def _search_index(first: Tensor, second: Tensor, threshold: float) -> _Pairs:
    faiss = _import_faiss()
    cells = max(1, min(round(4 * len(second) ** 0.5), len(second) // 39))  # faiss wants 39 a cell
    quantizer = faiss.IndexFlatIP(second.shape[1])
    index = faiss.IndexIVFFlat(quantizer, second.shape[1], cells, faiss.METRIC_INNER_PRODUCT)
    sample = torch.randperm(len(second), generator=torch.Generator().manual_seed(0))
    index.train(second[sample[: 64 * cells]].numpy())
    index.add(second.numpy())
    index.nprobe = _LISTS_PROBED
    for top in range(0, len(first), _TILE):
        limits, cosine, columns = index.range_search(first[top : top + _TILE].numpy(), threshold)
        rows = np.repeat(np.arange(len(limits) - 1), np.diff(limits).astype(np.int64)) + top
        yield rows, columns, cosine


def _import_faiss() -> ModuleType:
    try:
        import faiss
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "search=faiss needs faiss: pip install 'cmid[scoring]', or take search=exact"
        ) from error
    return faiss


def _unit_rows(embeddings: Tensor) -> Tensor:
    rows = embeddings.detach().cpu().float()
    lengths = rows.norm(dim=1)
    faulty = ~(lengths.isfinite() & (lengths > 0))
    if faulty.any():
        where = int(faulty.nonzero()[0, 0])
        raise ValueError(f"embedding {where} is zero or not finite: it has no direction")
    return F.normalize(rows, dim=1).contiguous()


class _Forest:
    """Components of a graph whose edges come in parts and are not kept."""

    def __init__(self, count: int) -> None:
        self._labels = np.arange(count)
        self._edges: list[tuple[Rows, Rows]] = []
        self._pending = 0

    def join(self, first: Rows, second: Rows) -> None:
        apart = self._labels[first] != self._labels[second]
        self._edges.append((first[apart], second[apart]))
        self._pending += int(apart.sum())
        if self._pending > _PENDING:
            self._merge()

    def labels(self) -> Rows:
        """Components, numbered in the order of their first rows."""
        self._merge()
        _, first, labels = np.unique(self._labels, return_index=True, return_inverse=True)
        return first.argsort().argsort()[labels]

    def _merge(self) -> None:
        if not self._pending:
            return
        rows, columns = (np.concatenate(ends) for ends in zip(*self._edges, strict=True))
        ends = self._labels[rows], self._labels[columns]
        count = len(self._labels)
        graph = coo_array((np.ones(len(rows), dtype=bool), ends), shape=(count, count))
        _, joined = connected_components(graph, directed=False)
        self._labels = joined[self._labels]
        self._edges, self._pending = [], 0


def _representatives(unit: Tensor, labels: Rows, keep: Keep) -> Rows:
    if not len(labels):
        return labels
    count = int(labels.max()) + 1
    if keep == "first":
        return np.unique(labels, return_index=True)[1]
    group = torch.from_numpy(labels)
    sums = torch.zeros(count, unit.shape[1]).index_add_(0, group, unit)
    # The mean similarity to a group is the one to its sum, up to a factor.
    closeness = (unit * sums[group]).sum(dim=1).numpy()
    order = np.lexsort((np.arange(len(labels)), -closeness, labels))
    return order[np.unique(labels[order], return_index=True)[1]]
