"""Scores of several seeds: their mean and spread, and a table of rows of them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from cmid.reporting import Row, Table, markdown_table

Merged = Mapping[str, tuple[float, float]]
"""Of each measure the mean over seeds, and half their range."""


def over_seeds(seeds: Sequence[Mapping[str, float]]) -> Merged:
    """Mean and half the range over seeds, of each measure."""
    merged = {}
    for name in seeds[0]:
        values = [scores[name] for scores in seeds]
        merged[name] = statistics.fmean(values), (max(values) - min(values)) / 2
    return merged


def seed_table(title: str, rows: Mapping[str, Merged]) -> str:
    """Markdown, the best of each column bold; behind ± half the range over seeds."""
    names = list(next(iter(rows.values())))
    best = {name: max(scores[name][0] for scores in rows.values()) for name in names}
    lines = []
    for row, scores in rows.items():
        cells = (f"{m:.3f}" + (f" ± {s:.3f}" if s else "") for m, s in scores.values())
        leads = (k for k, name in enumerate(names) if scores[name][0] == best[name])
        lines.append(Row(row, tuple(cells), frozenset(leads)))
    return markdown_table(Table((title, *names), tuple(lines)))
