from __future__ import annotations

import pytest

from benchmarks.seeds import over_seeds, seed_table


def test_mean_and_half_the_range_over_seeds_are_shown_and_the_best_is_bold() -> None:
    rows = {
        "a": over_seeds([{"knn": 0.5, "roads": 0.4}, {"knn": 0.52, "roads": 0.4}]),
        "b": over_seeds([{"knn": 0.4, "roads": 0.6}]),
    }
    assert rows["a"]["knn"] == (pytest.approx(0.51), pytest.approx(0.01))
    lines = seed_table("variant", rows).splitlines()
    assert lines[2:] == ["| a | **0.510 ± 0.010** | 0.400 |", "| b | 0.400 | **0.600** |"]
