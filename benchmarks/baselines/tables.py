"""What a comparison shows: scores with intervals, who leads whom, mean ranks, and cost."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.stats import rankdata

from cmid.evaluation import Results, Score, mean_score
from cmid.evaluation.results import Difference
from cmid.evaluation.tasks import Found
from cmid.reporting import Row, Table, markdown_table

_TEXT = """\
Cells: the mean over seeds and its 95 % interval, over test images and, where labelled images are
drawn, over draws; behind ± half the range over seeds. Bold: the best of a column, and rows that tie
with it. Differences are of the seeds that both rows have. A tie is a difference whose paired
interval holds 0, whose sign is not that of every seed, or of rows without a seed in common.
Intervals are of single comparisons, and not corrected for their number. Ranks: 1 is best, means
over measures of pooled features (kNN, linear, few-shot), over measures of dense ones (roads,
correspondence), and the mean of both. Cost: seconds of training and images seen, means over seeds;
runs at the same time share the machine."""


@dataclass(frozen=True)
class Outcome:
    """What a row reached.

    Attributes:
        found: by seed, scores and numbers about them.
        about: by seed, how it was measured and what its training cost.
    """

    row: str
    found: Mapping[int, Found]
    about: Mapping[int, Mapping[str, Any]]

    @cached_property
    def scores(self) -> dict[str, Score]:
        """The mean over seeds of every score that all of them have."""
        first = next(iter(self.found.values()))
        scores = {}
        for name in first:
            each = self._of_seeds(name)
            if len(each) == len(self.found):
                scores[name] = mean_score([*each.values()])
        return scores

    def of_seeds(self, measure: str) -> dict[int, float]:
        """The values of a score by seed."""
        return {seed: own.value for seed, own in self._of_seeds(measure).items()}

    def cost(self, name: str) -> float | None:
        """The mean over seeds of ``seconds`` or ``images_seen`` of training; None untrained."""
        each = [(about.get("training") or {}).get(name) for about in self.about.values()]
        known = [value for value in each if value is not None]
        return statistics.fmean(known) if known else None

    def lead(self, other: Outcome, measure: str) -> Lead:
        """By how much it is ahead of another row, in the seeds of both.

        Without a seed in common it is the difference of what both have, and of no interval.
        """
        ours, theirs = self._of_seeds(measure), other._of_seeds(measure)
        common = [seed for seed in ours if seed in theirs]
        if not common:
            value = self.scores[measure].value - other.scores[measure].value
            return Lead(measure, self.row, other.row, value, (math.nan, math.nan))
        first, second = (mean_score([each[seed] for seed in common]) for each in (ours, theirs))
        value, interval = first.lead(second)
        seeds = tuple(ours[seed].value - theirs[seed].value for seed in common)
        return Lead(measure, self.row, other.row, value, interval, seeds)

    def _of_seeds(self, measure: str) -> dict[int, Score]:
        scores = {seed: own.get(measure) for seed, own in self.found.items()}
        return {seed: own for seed, own in scores.items() if isinstance(own, Score)}


@dataclass(frozen=True)
class Lead(Difference):
    """A difference of two rows.

    Attributes:
        seeds: the differences of the seeds that both have.
    """

    seeds: tuple[float, ...] = ()

    @property
    def tie(self) -> bool:
        """Whether images, or seeds, do not tell who is ahead."""
        return super().tie or any(own * self.value <= 0 for own in self.seeds)


def is_curve(measure: str) -> bool:
    """Whether a measure is a point of a curve over labels."""
    return measure.endswith((" label", " labels"))


def is_dense(measure: str) -> bool:
    """Whether a measure is of features of places, not of images."""
    return "mIoU" in measure or "correspondence" in measure


def is_ranked(measure: str) -> bool:
    """Whether a measure counts for ranks: curves repeat others, and so do matches nearby."""
    return not is_curve(measure) and "within" not in measure


def measures_of(outcomes: Sequence[Outcome]) -> list[str]:
    """Measures that any row has, in order."""
    return list(dict.fromkeys(name for each in outcomes for name in each.scores))


def mean_ranks(values: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Mean ranks of rows, 1 the best; rows of equal value share the mean of their ranks.

    Args:
        values: by row, the values of measures; one that a row lacks is passed over.

    Returns:
        By row ``pooled``, ``dense`` and ``both``, the mean of the two; those without a measure are
        left out.
    """
    rows = [*values]
    shared = [
        name
        for name in next(iter(values.values()))
        if is_ranked(name) and all(name in values[row] for row in rows)
    ]
    ranks: dict[str, dict[str, float]] = {row: {} for row in rows}
    for kind, dense in (("pooled", False), ("dense", True)):
        names = [name for name in shared if is_dense(name) == dense]
        if names:
            table = np.array([[-values[row][name] for name in names] for row in rows])
            for row, rank in zip(rows, rankdata(table, axis=0).mean(axis=1), strict=True):
                ranks[row][kind] = float(rank)
    for each in ranks.values():
        if len(each) == 2:
            each["both"] = statistics.fmean(each.values())
    return ranks


def ranks_of(outcomes: Sequence[Outcome]) -> dict[str, dict[str, float]]:
    """`mean_ranks` of the means over seeds."""
    return mean_ranks(
        {each.row: {k: own.value for k, own in each.scores.items()} for each in outcomes}
    )


def leads(outcomes: Sequence[Outcome], against: Outcome) -> list[Lead]:
    """By how much each row is ahead of one of them, in all measures of both."""
    return [
        each.lead(against, measure)
        for each in outcomes
        if each.row != against.row
        for measure in each.scores
        if measure in against.scores
    ]


def rank_table(outcomes: Sequence[Outcome]) -> Table:
    """Mean ranks and cost of every row, the best first."""
    ranks = ranks_of(outcomes)
    kinds = [kind for kind in ("pooled", "dense", "both") if kind in ranks[outcomes[0].row]]
    rows = []
    for each in sorted(outcomes, key=lambda own: ranks[own.row].get(kinds[-1], 0) if kinds else 0):
        own, seconds, images = ranks[each.row], each.cost("seconds"), each.cost("images_seen")
        cells = [f"{own[kind]:.2f}" for kind in kinds]
        cells += ["" if known is None else f"{known:,.0f}" for known in (seconds, images)]
        best = (
            k for k, kind in enumerate(kinds) if own[kind] == min(r[kind] for r in ranks.values())
        )
        rows.append(Row(each.row, (*cells, str(len(each.found))), frozenset(best)))
    head = (f"mean rank, {kind}" for kind in kinds)
    return Table(("pretraining", *head, "seconds", "images seen", "seeds"), tuple(rows))


def score_table(outcomes: Sequence[Outcome], measures: Sequence[str]) -> Table:
    """Scores with intervals; bold the best, and those that tie with it."""
    leading = {measure: _leading(outcomes, measure) for measure in measures}
    rows = []
    for each in outcomes:
        cells = tuple(_cell(each, measure) for measure in measures)
        best = (k for k, measure in enumerate(measures) if each.row in leading[measure])
        rows.append(Row(each.row, cells, frozenset(best)))
    return Table(("pretraining", *measures), tuple(rows))


def lead_table(found: Sequence[Lead], measures: Sequence[str]) -> Table:
    """Differences from one row, ties marked."""
    cells = {(each.first, each.measure): str(each) for each in found}
    rows = dict.fromkeys(each.first for each in found)
    title = f"against {found[0].second}"
    filled = (Row(row, tuple(cells.get((row, name), "") for name in measures)) for row in rows)
    return Table((title, *measures), tuple(filled))


def as_markdown(outcomes: Sequence[Outcome], found: Sequence[Lead], *, command: str) -> str:
    """All tables with what has to be known to read them.

    Args:
        found: of `leads`.
        command: how it was made.
    """
    parts = ["# Comparison of pretraining", f"    {command}", _TEXT]
    parts += ["## Mean ranks and cost", markdown_table(rank_table(outcomes))]
    for title, measures in _groups(measures_of(outcomes)):
        parts += [f"## {title}", markdown_table(score_table(outcomes, measures))]
        if found:
            parts.append(markdown_table(lead_table(found, measures)))
        parts += [line for line in [_chances(outcomes, measures)] if line]
    return "\n\n".join(parts) + "\n"


def as_json(outcomes: Sequence[Outcome], found: Sequence[Lead], *, command: str) -> dict[str, Any]:
    """The same as plain values."""
    ranks = ranks_of(outcomes)
    rows = {
        each.row: {
            "ranks": ranks[each.row],
            "seconds": each.cost("seconds"),
            "images_seen": each.cost("images_seen"),
            "scores": {
                name: {
                    "value": score.value,
                    "interval": _known(score.interval),
                    "seeds": each.of_seeds(name),
                }
                for name, score in each.scores.items()
            },
        }
        for each in outcomes
    }
    differences = [
        vars(each) | {"interval": _known(each.interval), "tie": each.tie} for each in found
    ]
    return {"command": command, "rows": rows, "differences": differences}


def as_results(outcomes: Sequence[Outcome]) -> Results:
    """Scores but those of curves, as `cmid.visualization.scores.score_figure` draws them."""
    return Results({}, {own.row: _without(own, is_curve) for own in outcomes})


def curves_of(outcomes: Sequence[Outcome], data: str, *, scratch: str) -> Results | None:
    """Curves over labels of a data set, as `cmid.visualization.scores.label_figure` draws them.

    Args:
        scratch: how names of measures of supervised training from random weights begin.
    """
    found: dict[str, Found] = {}
    for each in outcomes:
        for start, mode in ((f"{data} {scratch}", "from scratch"), (f"{data} ", "frozen")):
            points: Found = {
                name.removeprefix(start): score
                for name, score in each.scores.items()
                if is_curve(name) and name.startswith(start)
            }
            if mode == "frozen":
                points = {k: own for k, own in points.items() if not k.startswith(scratch)}
            if points:
                found[f"{each.row}, {mode}"] = points
    about = next(iter(outcomes[0].about.values()))
    return Results({"labels": about["label_places"][data]}, found) if found else None


def _without(outcome: Outcome, left_out: Any) -> Found:
    return {name: score for name, score in outcome.scores.items() if not left_out(name)}


def _groups(measures: Sequence[str]) -> Iterable[tuple[str, list[str]]]:
    """Titles and measures of tables."""
    groups: dict[str, list[str]] = {}
    for name in measures:
        data = name.partition(" ")[0]
        title = f"Pooled features, {data}"
        if is_curve(name):
            title = f"Accuracy by labelled images a class, {data}"
        elif is_dense(name):
            title = "Dense features"
        groups.setdefault(title, []).append(name)
    return sorted(groups.items(), key=lambda group: "PDA".index(group[0][0]))


def _leading(outcomes: Sequence[Outcome], measure: str) -> set[str]:
    """The best row, and those that do not differ from it."""
    rows = [each for each in outcomes if measure in each.scores]
    best = max(rows, key=lambda each: each.scores[measure].value)
    ties = {each.row for each in rows if each is not best and best.lead(each, measure).tie}
    return {best.row} | ties


def _cell(outcome: Outcome, measure: str) -> str:
    score = outcome.scores.get(measure)
    if score is None:
        return ""
    low, high = score.interval
    shown = f"{score.value:.3f}" + ("" if math.isnan(low) else f" [{low:.3f}, {high:.3f}]")
    seeds = outcome.of_seeds(measure).values()
    return shown + (f" ± {(max(seeds) - min(seeds)) / 2:.3f}" if len(seeds) > 1 else "")


def _chances(outcomes: Sequence[Outcome], measures: Sequence[str]) -> str:
    """What guessing reaches, of measures that tell it."""
    known = next(iter(outcomes[0].found.values()))
    told = {name: known.get(f"{name} chance") for name in measures}
    lines = [f"{name} {chance:.3f}" for name, chance in told.items() if isinstance(chance, float)]
    return f"By chance: {', '.join(lines)}." if lines else ""


def _known(interval: tuple[float, float]) -> list[float | None]:
    """JSON has no nan."""
    return [None if math.isnan(end) else end for end in interval]
