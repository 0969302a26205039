"""The scores of all runs of a suite, gathered: a row a task and way to learn."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy import stats

from benchmarks.suite.runs import Result
from benchmarks.suite.tasks import Task
from benchmarks.suite.variants import Variant

PICTURES = 4  # of each row and backbone
_LEVEL = 0.95


@dataclass(frozen=True)
class Row:
    """A task, learned in one way.

    Attributes:
        scores: by backbone its score with each seed, seeds ascending; none where its runs failed.
        pictures: by backbone, paths below the report.
    """

    task: Task
    variant: Variant
    scores: Mapping[str, Mapping[int, float]]
    pictures: Mapping[str, Sequence[str]]

    @property
    def means(self) -> dict[str, float]:
        """Means over seeds, of backbones with any."""
        return {name: statistics.fmean(own.values()) for name, own in self.scores.items() if own}

    def text(self, name: str) -> str:
        """The mean; of several seeds half their range, and the interval of the mean."""
        own = [*self.scores[name].values()]
        found = over_seeds(own)
        # A mean of percentages lies between 0 and 100, which Student's of two seeds does not know.
        bounded = (max(found[0], 0.0), min(found[1], 100.0)) if found else None
        return _text(own, bounded)

    def tie(self, first: str, second: str) -> bool:
        """Whether seeds do not tell which of two backbones is ahead.

        The interval of their differences holds 0. Where there is none (one seed in common, or the
        same difference with each), their ranges overlap: no seed of one beats all of the other's.
        """
        found = over_seeds(self._differences(first, second))
        if found is not None:
            return found[0] <= 0 <= found[1]
        a, b = self.scores[first].values(), self.scores[second].values()
        return bool(a and b) and max(a) >= min(b) and max(b) >= min(a)

    def leading(self) -> list[str]:
        """The best backbone, and those that tie with it."""
        means = self.means
        best = max(means, key=lambda name: means[name])
        return [name for name in means if name == best or self.tie(name, best)]

    def lead(self, name: str, other: str) -> str:
        """By how much a backbone is ahead, seed by seed: mean, half range, 95 % interval."""
        each = self._differences(name, other)
        shown = _text(each, over_seeds(each), sign="+")
        return f"{shown}, tie" if shown and self.tie(name, other) else shown

    def _differences(self, name: str, other: str) -> list[float]:
        """Of the seeds that both have."""
        own, rival = self.scores[name], self.scores[other]
        return [own[seed] - rival[seed] for seed in own if seed in rival]


def over_seeds(values: Sequence[float]) -> tuple[float, float] | None:
    """95 % interval of the mean over seeds, of all seeds that might have been drawn (Student's t).

    Two seeds are enough, but leave it some thirteen times as wide as their range; three, some two
    and a half times. None of one seed, and of equal values, which show no spread.
    """
    if len(values) < 2 or math.isclose(max(values), min(values), abs_tol=1e-9):
        return None
    found = stats.ttest_1samp(values, 0).confidence_interval(_LEVEL)
    return float(found.low), float(found.high)


def _text(values: Sequence[float], interval: tuple[float, float] | None, *, sign: str = "") -> str:
    if not values:
        return ""
    shown = f"{statistics.fmean(values):{sign}.1f}"
    if len(values) > 1:
        shown += f" ± {(max(values) - min(values)) / 2:.1f}"
    return shown + (f" [{interval[0]:.1f}, {interval[1]:.1f}]" if interval else "")


def make_rows(
    tasks: Sequence[Task], backbones: Sequence[str], results: Sequence[Result]
) -> list[Row]:
    """Gather results; a task and way that has none at all is left out."""
    rows = []
    for task in tasks:
        of_task = [result for result in results if result.task == task.name]
        for variant in dict.fromkeys(result.variant for result in of_task):
            own = [result for result in of_task if result.variant == variant]
            runs = {name: [r for r in own if r.backbone == name] for name in backbones}
            scores = {
                name: dict(sorted((r.seed, r.score) for r in found)) for name, found in runs.items()
            }
            pictures = {
                name: found[0].pictures[:PICTURES] if found else () for name, found in runs.items()
            }
            rows.append(Row(task, variant, scores, pictures))
    return rows
