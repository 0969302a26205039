"""A score as what each test image gives to it: its value, its interval, its lead over another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from cmid.evaluation.intervals import (
    Interval,
    bootstrap,
    mean_proportion,
    over_draws,
    paired_proportions,
    proportion,
)
from cmid.evaluation.iou import mean_iou

Rows = NDArray[Any]
Weights = NDArray[Any]


@dataclass(frozen=True)
class Score:
    """A score of a backbone on test images.

    Attributes:
        kind: how images make a number, a name in `KINDS`.
        rows: ``(N, ...)`` what each of N test images gives to it.
    """

    kind: str
    rows: Rows

    @cached_property
    def value(self) -> float:
        """The score of all images."""
        return float(KINDS[self.kind](self.rows, np.ones((1, len(self.rows))))[0])

    @cached_property
    def interval(self) -> Interval:
        """Of 95 %, over test images (and draws of training images); the backbone is what it is."""
        if self.kind == "share" or (self.kind == "draws" and _same(self.rows)):
            return proportion(round(self.value * len(self.rows)), len(self.rows))
        if self.kind == "shares":
            return mean_proportion(self.rows)
        if self.kind == "draws":
            return over_draws(self.rows.astype(np.float64))
        low, high = bootstrap(
            lambda indices: self._redrawn(_counts(indices)),
            len(self.rows),
            vectorized=True,
            centred=self.kind == "NMI",  # which is the higher, the fewer different images
        )
        return (max(low, 0.0), min(high, 1.0)) if self.kind == "NMI" else (low, high)

    def lead(self, other: Score) -> tuple[float, Interval]:
        """By how much it is more than another on the same images, with the paired interval.

        Of draws, of which one may have more, the first ones of both count. A share compares with
        the mean of several networks' shares.

        Raises:
            ValueError: the other is of other images or another kind.
        """
        if self.kind == other.kind == "draws" and self.rows.shape[1] != other.rows.shape[1]:
            first, second = (
                Score("draws", each.rows[:, : min(self.rows.shape[1], other.rows.shape[1])])
                for each in (self, other)
            )
            return first.lead(second)
        value, hits = self.value - other.value, (self._hits(), other._hits())
        if hits[0] is not None and hits[1] is not None and len(hits[0]) == len(hits[1]):
            return value, paired_proportions(hits[0], hits[1])
        if (self.kind, self.rows.shape) != (other.kind, other.rows.shape):
            raise ValueError(
                f"{self.kind} of {self.rows.shape} results does not compare with {other.kind} of"
                f" {other.rows.shape}"
            )
        if self.kind == "draws":
            return value, over_draws(self.rows.astype(np.float64) - other.rows)

        def redrawn(indices: NDArray[np.int64]) -> Weights:
            counts = _counts(indices)
            return self._redrawn(counts) - other._redrawn(counts)

        return value, bootstrap(redrawn, len(self.rows), vectorized=True)

    def _hits(self) -> Rows | None:
        """``(N,)`` hits, or shares of networks that hit; None of other kinds and several draws."""
        if self.kind in ("share", "shares"):
            return self.rows
        single = self.kind == "draws" and self.rows.shape[1] == 1
        return (self.rows[:, 0] > 0).astype(np.float64) if single else None

    def _redrawn(self, counts: Weights) -> Weights:
        return KINDS[self.kind](self.rows, counts)


def mean_score(scores: Sequence[Score]) -> Score:
    """The mean of several backbones' scores on the same images, as one score of these images.

    Its value is the mean of their values; its interval is over images (and draws) for these
    backbones, such as those of several seeds, and tells nothing of others.

    Raises:
        ValueError: scores of other images or kinds, or of a kind that has no such mean.
    """
    kinds = {(score.kind, score.rows.shape) for score in scores}
    if len(kinds) != 1:
        raise ValueError(f"scores of {len(kinds)} kinds or numbers of images have no mean")
    ((kind, shape),) = kinds
    if len(scores) == 1:
        return scores[0]
    rows = [score.rows for score in scores]
    if kind in ("share", "mean", "draws"):
        mean = np.stack(rows).mean(axis=0, dtype=np.float64)
        if kind == "share" or (kind == "draws" and shape[1] == 1):
            return Score("shares", mean.reshape(len(mean)))
        return Score(kind, mean)
    if kind == "mIoU" and len(shape) == 3:
        return Score(kind, np.stack(rows, axis=1))  # (N, S, K, K)
    if kind == "ratio" and len(shape) == 2:
        return Score(kind, np.stack(rows, axis=2))  # (N, 2, S)
    raise ValueError(f"scores of kind {kind} have no mean")


def _same(rows: Rows) -> bool:
    """Whether draws have no spread: one of them, or all results equal."""
    return rows.shape[1] == 1 or rows.min() == rows.max()


def _counts(indices: NDArray[np.int64]) -> Weights:
    """How often each of N images was drawn: ``(R, N)`` of ``(R, N)`` indices."""
    places = indices + np.arange(len(indices))[:, None] * indices.shape[1]
    return np.bincount(places.ravel(), minlength=indices.size).reshape(indices.shape).astype(float)


def _sums(rows: Rows, weights: Weights) -> Weights:
    """``(R, ...)`` weighted sums of ``(N, ...)`` rows."""
    return np.tensordot(weights, rows.astype(np.float64), axes=1)


def _mean(rows: Rows, weights: Weights) -> Weights:
    """Of ``(N,)`` numbers, or of ``(N, S)`` in draws."""
    means = _sums(rows, weights) / weights.sum(axis=1).reshape(-1, *[1] * (rows.ndim - 1))
    return means.reshape(len(weights), -1).mean(axis=1)


def _root(rows: Rows, weights: Weights) -> Weights:
    return np.sqrt(_mean(rows, weights))


def _ratio(rows: Rows, weights: Weights) -> Weights:
    """Sum over sum of ``(N, 2)``, or the mean of such of ``(N, 2, L)``; 0 of nothing."""
    sums = _sums(rows, weights)
    return (sums[:, 0] / np.maximum(sums[:, 1], 1e-12)).reshape(len(weights), -1).mean(axis=1)


def _average_precision(rows: Rows, weights: Weights) -> Weights:
    """Mean over labels that occur, of ``(N, 2, L)`` scores and 0/1 labels."""
    occurring = np.flatnonzero((rows[:, 1] > 0).any(axis=0))
    each = [_of_label(rows[:, 0, k], rows[:, 1, k], weights) for k in occurring]
    return np.nanmean(np.stack(each), axis=0)


def _of_label(scores: Rows, labels: Rows, weights: Weights) -> Weights:
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.diff(scores[order]).nonzero()[0], len(order) - 1)  # equal ones go together
    sorted_weights = weights[:, order]
    found = np.cumsum(sorted_weights * labels[order], axis=1)[:, ends]
    precision = found / np.maximum(np.cumsum(sorted_weights, axis=1)[:, ends], 1e-12)
    total = found[:, -1]
    gained = np.diff(found, axis=1, prepend=0.0)
    return np.where(total > 0, (gained * precision).sum(axis=1) / np.maximum(total, 1e-12), np.nan)


def _mean_iou(rows: Rows, weights: Weights) -> Weights:
    """Of ``(N, K, K)`` counts of pixels, true classes in rows, or the mean of ``(N, S, K, K)``."""
    each = mean_iou(torch.from_numpy(_sums(rows, weights)))  # (R,) or (R, S)
    return each.reshape(len(weights), -1).mean(dim=1).numpy()


def _mutual_information(rows: Rows, weights: Weights) -> Weights:
    """Normalised by the mean of both entropies, of ``(N, 2)`` classes and clusters."""
    classes, clusters = (np.unique(column, return_inverse=True)[1] for column in rows.T)
    width = clusters.max() + 1
    shape = len(rows), (classes.max() + 1) * width
    places = np.arange(len(rows)), classes * width + clusters
    cells = sparse.csr_array((np.ones(len(rows)), places), shape=shape)
    table = (cells.T @ weights.T).T.reshape(len(weights), -1, width)
    table = table / weights.sum(axis=1)[:, None, None]
    both = _entropy(table.reshape(len(weights), -1))
    own = _entropy(table.sum(axis=2)), _entropy(table.sum(axis=1))
    return (own[0] + own[1] - both) / np.maximum((own[0] + own[1]) / 2, 1e-12)


def _entropy(shares: Weights) -> Weights:
    return -(shares * np.log(np.where(shares > 0, shares, 1))).sum(axis=1)


def _explained(rows: Rows, weights: Weights) -> Weights:
    """R2 of ``(N, 2)`` predictions and true numbers."""
    predicted, true = rows.astype(np.float64).T
    true, predicted = true - true.mean(), predicted - true.mean()
    count = weights.sum(axis=1)
    spread = weights @ true**2 - (weights @ true) ** 2 / count
    return 1 - weights @ (true - predicted) ** 2 / np.maximum(spread, 1e-300)


# (N, ...) rows and (R, N) times that each counts, to (R,) scores.
KINDS: dict[str, Callable[[Rows, Weights], Weights]] = {
    "share": _mean,
    "shares": _mean,
    "draws": _mean,
    "mean": _mean,
    "root": _root,
    "ratio": _ratio,
    "AP": _average_precision,
    "mIoU": _mean_iou,
    "NMI": _mutual_information,
    "R2": _explained,
}
