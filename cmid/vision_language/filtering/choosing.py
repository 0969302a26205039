"""Which pairs are kept: thresholds, near-duplicates, ranks and quotas; a function of arrays."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cmid.data.near_duplicates import near_duplicates
from cmid.vision_language.filtering.blocks import EMPTY, LEAK, NO_SCORE, UNREADABLE
from cmid.vision_language.filtering.config import ChoiceConfig

KEPT, RANK, LOW, SHORT, DUPLICATE = "", "rank", "score below minimum", "too few words", "duplicate"
REASONS = (KEPT, RANK, LOW, SHORT, DUPLICATE, LEAK, UNREADABLE, EMPTY, NO_SCORE)
_ALL_PAIRS_UP_TO = 50_000  # images; more are compared by an index


@dataclass(frozen=True)
class Pairs:
    """Scored pairs in the order of their sources; ``N`` of ``M`` images.

    Attributes:
        source: ``(N,)`` int16 number of the source.
        index: ``(N,)`` int64 number of the image within.
        words: ``(N,)`` int32.
        score: ``(N,)`` float32, NaN where there is none.
        reason: ``(N,)`` int8, place in `REASONS`; not 0 for what cannot be kept.
        embedding: ``(M, E)`` of the images in order, NaN for unreadable ones; None without.
    """

    source: NDArray[np.int16]
    index: NDArray[np.int64]
    words: NDArray[np.int32]
    score: NDArray[np.float32]
    reason: NDArray[np.int8]
    embedding: NDArray[np.float16] | None = None

    @property
    def image(self) -> NDArray[np.int64]:
        """``(N,)`` number of the image among all."""
        if not len(self.index):
            return self.index
        new = (np.diff(self.index) != 0) | (np.diff(self.source) != 0)
        return np.concatenate([[0], np.cumsum(new)])


@dataclass(frozen=True)
class Choice:
    """What becomes of each pair.

    Attributes:
        ranked_by: ``(N,)`` float32: the score, or its residual.
        rank: ``(N,)`` int64 from 1, of what could be kept; 0 for all else.
        reason: ``(N,)`` int8, place in `REASONS`; 0 is kept.
        twin: ``(N,)`` int64, first pair of the image that a duplicate was dropped for; -1.
    """

    ranked_by: NDArray[np.float32]
    rank: NDArray[np.int64]
    reason: NDArray[np.int8]
    twin: NDArray[np.int64]

    @property
    def kept(self) -> NDArray[np.bool_]:
        return self.reason == 0


def choose(pairs: Pairs, config: ChoiceConfig) -> Choice:
    """Choose by thresholds, then near-duplicates, then rank.

    The quota is the share of all pairs that have a score, rounded down; equal scores are ranked in
    the order of the data.

    Raises:
        ValueError: not one share, nor one for each source; duplicates without embeddings.
    """
    sources = int(pairs.source.max()) + 1 if len(pairs.source) else 1
    if len(config.keep) not in (1, sources):
        raise ValueError(
            f"--keep has {len(config.keep)} shares for {sources} DATA: one, or one each"
        )
    reason = pairs.reason.copy()
    scored = np.isfinite(pairs.score)
    drop(reason, LOW, pairs.score < (-math.inf if config.min_score is None else config.min_score))
    drop(reason, SHORT, pairs.words < config.min_words)
    ranked_by = pairs.score.copy()
    groups = [*_groups(pairs, config)]
    if config.debias_length:
        for members in groups:
            fitted = members & (reason == 0)
            ranked_by[members] -= explained_by_length(
                pairs.words[fitted], pairs.score[fitted], at=pairs.words[members]
            )
    twin: NDArray[np.int64] = np.full(len(reason), -1, dtype=np.int64)
    if config.duplicates is not None:
        twin = _twins(pairs, ranked_by, reason == 0, config.duplicates)
        drop(reason, DUPLICATE, twin >= 0)
    rank = np.zeros(len(reason), dtype=np.int64)
    for number, members in enumerate(groups):
        able: NDArray[np.int64] = np.flatnonzero(members & (reason == 0))
        best_first = able[np.argsort(-ranked_by[able], kind="stable")]
        rank[best_first] = np.arange(1, len(able) + 1)
        share = config.keep[min(number, len(config.keep) - 1)]
        quota = math.floor(share * np.count_nonzero(members & scored) + 1e-9)
        drop(reason, RANK, members & (rank > quota))
    return Choice(ranked_by, rank, reason, twin)


def drop(reason: NDArray[np.int8], why: str, which: NDArray[np.bool_]) -> None:
    """Note a reason for pairs that have none yet."""
    reason[which & (reason == 0)] = REASONS.index(why)


def explained_by_length(
    words: NDArray[np.int32], score: NDArray[np.float32], *, at: NDArray[np.int32]
) -> NDArray[np.float32]:
    """What the number of words says of a score: a parabola in its logarithm, by least squares.

    Args:
        words, score: ``(N,)`` to fit.
        at: ``(K,)`` numbers of words.

    Returns:
        ``(K,)``; the residual of the fitted ones is uncorrelated with the logarithm of the length.
    """
    if not len(words):
        return np.zeros(len(at), dtype=np.float32)

    def terms(counts: NDArray[np.int32]) -> NDArray[np.float64]:
        logarithm = np.log1p(counts.astype(np.float64))
        return np.stack([np.ones_like(logarithm), logarithm, logarithm**2], axis=1)

    weights = np.linalg.lstsq(terms(words), score.astype(np.float64), rcond=None)[0]
    return (terms(at) @ weights).astype(np.float32)


def _groups(pairs: Pairs, config: ChoiceConfig) -> Iterator[NDArray[np.bool_]]:
    """Pairs that are ranked together."""
    if not config.by_source:
        yield np.ones(len(pairs.source), dtype=bool)
        return
    for number in range(int(pairs.source.max(initial=0)) + 1):
        yield pairs.source == number


def _twins(
    pairs: Pairs, ranked_by: NDArray[np.float32], able: NDArray[np.bool_], threshold: float
) -> NDArray[np.int64]:
    """For pairs of near-duplicates, the first pair of the image with the best score; else -1."""
    twin = np.full(len(able), -1, dtype=np.int64)
    if pairs.embedding is None:
        raise ValueError("--duplicates needs embeddings: name a CLIP with --embedder")
    image = pairs.image
    best = np.full(len(pairs.embedding), -np.inf, dtype=np.float32)
    np.maximum.at(best, image[able], ranked_by[able])
    able_images: NDArray[np.int64] = np.flatnonzero(np.isfinite(best))
    best_first = able_images[np.argsort(-best[able_images], kind="stable")]
    if len(best_first) < 2:
        return twin
    groups = near_duplicates(
        torch.from_numpy(pairs.embedding[best_first].astype(np.float32)),
        threshold,
        keep="first",
        search="exact" if len(best_first) <= _ALL_PAIRS_UP_TO else "faiss",
    )
    kept = best_first[groups.kept[groups.labels]]  # (images,)
    first_pair = np.searchsorted(image, np.arange(len(best)))
    twin_of = np.full(len(best), -1, dtype=np.int64)
    twin_of[best_first] = np.where(kept == best_first, -1, first_pair[kept])
    twin[able] = twin_of[image[able]]
    return twin
