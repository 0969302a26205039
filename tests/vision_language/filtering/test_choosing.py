"""What is kept: compared with slow and plain code."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmid.vision_language.filtering.choosing import REASONS, Choice, Pairs, choose
from cmid.vision_language.filtering.config import ChoiceConfig


def drawn(seed: int, count: int = 60, sources: int = 2) -> Pairs:
    """Pairs of images with one to four texts, some without a score, with equal scores."""
    rng = np.random.default_rng(seed)
    source = np.sort(rng.integers(0, sources, count)).astype(np.int16)
    source[-1] = sources - 1
    index = np.concatenate(
        [np.sort(rng.integers(0, 12, (source == k).sum())) for k in range(sources)]
    )
    score = rng.normal(size=count).round(1).astype(np.float32)
    reason = np.zeros(count, dtype=np.int8)
    bad = rng.random(count) < 0.1
    score[bad], reason[bad] = np.nan, REASONS.index("unreadable")
    words = rng.integers(1, 20, count).astype(np.int32)
    return Pairs(source, index.astype(np.int64), words, score, reason)


def why(choice: Choice) -> list[str]:
    return [REASONS[k] for k in choice.reason]


def slowly(pairs: Pairs, config: ChoiceConfig) -> tuple[list[str], list[int]]:
    """Reasons and ranks by plain sorting."""
    count = len(pairs.score)
    reasons, ranks = [REASONS[k] for k in pairs.reason], [0] * count
    for k in range(count):
        if not reasons[k] and config.min_score is not None and pairs.score[k] < config.min_score:
            reasons[k] = "score below minimum"
        if not reasons[k] and pairs.words[k] < config.min_words:
            reasons[k] = "too few words"
    numbers = sorted(set(pairs.source.tolist())) if config.by_source else [None]
    for place, number in enumerate(numbers):
        members = [k for k in range(count) if number is None or pairs.source[k] == number]
        share = config.keep[place if len(config.keep) > 1 else 0]
        quota = int(share * sum(not np.isnan(pairs.score[k]) for k in members) + 1e-9)
        able = sorted((k for k in members if not reasons[k]), key=lambda k: (-pairs.score[k], k))
        for rank, k in enumerate(able, start=1):
            ranks[k] = rank
            reasons[k] = "" if rank <= quota else "rank"
    return reasons, ranks


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    keep=st.one_of(
        st.tuples(st.floats(0.01, 1)), st.tuples(st.floats(0.01, 1), st.floats(0.01, 1))
    ),
    per_source=st.booleans(),
    min_score=st.one_of(st.none(), st.floats(-2, 2)),
    min_words=st.integers(1, 15),
)
def test_the_choice_is_that_of_plain_sorting(
    seed: int, keep: tuple[float, ...], per_source: bool, min_score: float | None, min_words: int
) -> None:
    config = ChoiceConfig(keep, per_source, min_score=min_score, min_words=min_words)
    pairs = drawn(seed)
    choice = choose(pairs, config)
    reasons, ranks = slowly(pairs, config)
    assert why(choice) == reasons
    assert choice.rank.tolist() == ranks


def test_quotas_are_met_within_each_source() -> None:
    pairs = drawn(1, count=200)
    pairs.score[pairs.source == 1] += 100
    together = choose(pairs, ChoiceConfig((0.2,)))
    assert set(pairs.source[together.kept]) == {1}
    apart = choose(pairs, ChoiceConfig((0.2, 0.5)))
    for number, share in ((0, 0.2), (1, 0.5)):
        scored = np.isfinite(pairs.score) & (pairs.source == number)
        assert (apart.kept & (pairs.source == number)).sum() == int(share * scored.sum() + 1e-9)
    with pytest.raises(ValueError, match="3 shares for 2 DATA"):
        choose(pairs, ChoiceConfig((0.1, 0.2, 0.3)))


def test_ranks_without_the_length_do_not_correlate_with_it() -> None:
    rng = np.random.default_rng(0)
    words = rng.integers(3, 60, 2000).astype(np.int32)
    quality = rng.normal(size=2000)
    score = (quality + 2 * np.log1p(words)).astype(np.float32)
    zeros = np.zeros(2000, dtype=np.int16)
    pairs = Pairs(zeros, np.arange(2000), words, score, zeros.astype(np.int8))
    plain, debiased = (
        choose(pairs, ChoiceConfig((0.3,), debias_length=on)) for on in (False, True)
    )
    assert abs(np.corrcoef(np.log1p(words), debiased.ranked_by)[0, 1]) < 1e-3
    assert words[plain.kept].mean() > 1.3 * words.mean()
    assert abs(words[debiased.kept].mean() / words.mean() - 1) < 0.1
    best = np.argsort(-quality)[:600]
    assert np.isin(np.flatnonzero(debiased.kept), best).mean() > 0.95
    assert np.isin(np.flatnonzero(plain.kept), best).mean() < 0.8


def test_texts_of_one_length_are_ranked_by_their_score() -> None:
    pairs = drawn(2)
    pairs.words[:] = 7
    debiased = choose(pairs, ChoiceConfig(debias_length=True))
    assert debiased.rank.tolist() == choose(pairs, ChoiceConfig()).rank.tolist()


def test_of_near_duplicates_the_best_is_kept_with_all_its_texts() -> None:
    index = np.array([0, 0, 1, 2, 2, 3])
    score = np.array([1.0, 5.0, 4.0, 9.0, 2.0, np.nan], dtype=np.float32)
    zeros = np.zeros(6, dtype=np.int16)
    reason = zeros.astype(np.int8)
    reason[5] = REASONS.index("unreadable")
    angles = np.array([0.0, 0.1, 0.2, np.nan])  # 0 and 2 are linked by 1
    embedding = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float16)
    pairs = Pairs(zeros, index, np.full(6, 5, dtype=np.int32), score, reason, embedding)
    choice = choose(pairs, ChoiceConfig((1.0,), duplicates=0.99))
    assert why(choice) == [*["duplicate"] * 3, "", "", "unreadable"]
    assert choice.twin.tolist() == [3, 3, 3, -1, -1, -1]
    apart = choose(pairs, ChoiceConfig((1.0,), duplicates=0.9999))
    assert why(apart)[:5] == [""] * 5


def test_nothing_to_rank_is_no_error() -> None:
    none = [np.zeros(0, dtype=kind) for kind in ("int16", "int64", "int32", "float32", "int8")]
    assert choose(Pairs(*none), ChoiceConfig()).kept.tolist() == []
    pairs = drawn(3)
    pairs.score[:], pairs.reason[:] = np.nan, REASONS.index("empty text")
    assert not choose(pairs, ChoiceConfig(debias_length=True)).kept.any()
