"""The scores of all runs of a suite, gathered: a row a task and way to learn."""

from __future__ import annotations

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
        scores: by backbone its score with each seed, seeds ascending.
        pictures: by backbone, paths below the report.
    """

    task: Task
    variant: Variant
    scores: Mapping[str, Mapping[int, float]]
    pictures: Mapping[str, Sequence[str]]

    @property
    def means(self) -> dict[str, float]:
        """Means over seeds."""
        return {name: statistics.fmean(own.values()) for name, own in self.scores.items()}

    def half_range(self, name: str) -> float:
        """Half of what lies between the best and the worst seed."""
        own = self.scores[name].values()
        return (max(own) - min(own)) / 2

    def text(self, name: str) -> str:
        """The mean, and with several seeds half their range."""
        shown = f"{self.means[name]:.1f}"
        several = len(self.scores[name]) > 1
        return f"{shown} ± {self.half_range(name):.1f}" if several else shown

    def tie(self, first: str, second: str) -> bool:
        """Whether two backbones' seeds overlap: no seed of one beats all of the other's."""
        a, b = self.scores[first].values(), self.scores[second].values()
        return max(a) >= min(b) and max(b) >= min(a)

    def leading(self) -> list[str]:
        """The best backbone, and those that tie with it."""
        means = self.means
        best = max(means, key=lambda name: means[name])
        return [name for name in means if self.tie(name, best)]

    def lead(self, name: str, other: str) -> str:
        """By how much a backbone is ahead, seed by seed: mean, half range, 95 % interval.

        The interval is Student's of paired seeds, from three seeds on: that of two is some ten
        times as wide as their range.
        """
        own, rival = self.scores[name], self.scores[other]
        each = [own[seed] - rival[seed] for seed in own if seed in rival]
        if not each:
            return ""
        shown = f"{statistics.fmean(each):+.1f}"
        if len(each) > 1:
            shown += f" ± {(max(each) - min(each)) / 2:.1f}"
        if len(each) > 2 and max(each) > min(each):
            found = stats.ttest_1samp(each, 0).confidence_interval(_LEVEL)
            shown += f" [{found.low:.1f}, {found.high:.1f}]"
        return f"{shown}, tie" if self.tie(name, other) else shown


def make_rows(
    tasks: Sequence[Task], backbones: Sequence[str], results: Sequence[Result]
) -> list[Row]:
    """Gather results; a task and way that some backbone has no result of is left out."""
    rows = []
    for task in tasks:
        of_task = [result for result in results if result.task == task.name]
        for variant in dict.fromkeys(result.variant for result in of_task):
            own = [result for result in of_task if result.variant == variant]
            runs = {name: [r for r in own if r.backbone == name] for name in backbones}
            if not all(runs.values()):
                continue
            scores = {
                name: dict(sorted((r.seed, r.score) for r in found)) for name, found in runs.items()
            }
            pictures = {name: found[0].pictures[:PICTURES] for name, found in runs.items()}
            rows.append(Row(task, variant, scores, pictures))
    return rows
