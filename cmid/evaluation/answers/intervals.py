"""How sure a score is: 95 % intervals over questions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Interval = tuple[float, float]
_LEVEL = 0.95
_RESAMPLES = 500


def proportion(hits: int, count: int) -> Interval:
    """Of a share of ``count`` answers (Wilson, 1927); (nan, nan) of none."""
    if not count:
        return math.nan, math.nan
    found = stats.binomtest(hits, count).proportion_ci(_LEVEL, method="wilson")
    return float(found.low), float(found.high)


def bootstrap(statistic: Callable[[NDArray[np.int64]], float], count: int) -> Interval:
    """Of any number that is computed from ``count`` answers, by percentiles of redrawn ones.

    Args:
        statistic: from ``(count,)`` indices of answers to the number.
    """
    if count < 2:
        return math.nan, math.nan
    found: Any = stats.bootstrap(
        (np.arange(count),),
        statistic,
        n_resamples=_RESAMPLES,
        vectorized=False,
        confidence_level=_LEVEL,
        method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)
