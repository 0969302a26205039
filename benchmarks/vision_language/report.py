"""The scores of several models, gathered for a report."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.vision_language.outcome import Outcome
from benchmarks.vision_language.tasks import Evaluation
from cmid.reporting import Row, Section, Table


def make_section(evaluation: Evaluation, outcomes: Mapping[str, Outcome], *, out: Path) -> Section:
    """Gather what models got in one evaluation.

    Args:
        outcomes: outcomes by model.
        out: folder of the report, to which paths of pictures are made relative.
    """
    first = next(iter(outcomes.values()))
    facts = {
        o.facts: [n for n in outcomes if outcomes[n].facts == o.facts] for o in outcomes.values()
    }
    lines = [f if len(facts) == 1 else f"{', '.join(names)}: {f}" for f, names in facts.items()]
    tables = [
        _table("measure, %", [o.measures for o in outcomes.values()], [*outcomes], first.chance)
    ]
    if first.per_class is not None:
        values = [o.per_class[1] for o in outcomes.values() if o.per_class is not None]
        tables.append(_table(f"{first.per_class[0]} of each class, %", values, [*outcomes], {}))
    pictures = [
        (name, os.path.relpath(path, out))
        for group in zip(*(o.pictures for o in outcomes.values()), strict=True)
        for name, path in zip(outcomes, group, strict=True)
    ]
    title = f"{evaluation.task}: {evaluation.data}"
    return Section(title, tuple(lines), tuple(tables), tuple(pictures))


def _table(
    head: str,
    values: Sequence[Mapping[str, float]],
    models: Sequence[str],
    chance: Mapping[str, float],
) -> Table:
    names = list(dict.fromkeys(name for scores in values for name in scores))
    rows = []
    for name in names:
        numbers = [scores.get(name, math.nan) for scores in values]
        ranked = [round(number, 5) for number in numbers if not math.isnan(number)]
        best: frozenset[int] = frozenset()
        if len(set(ranked)) > 1:
            best = frozenset(k for k, n in enumerate(numbers) if round(n, 5) == max(ranked))
        cells = [_percent(number) for number in numbers]
        if chance:
            cells.append(_percent(chance.get(name, math.nan)))
        rows.append(Row(name, tuple(cells), best))
    return Table((head, *models, *(["chance"] if chance else [])), tuple(rows))


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}"
