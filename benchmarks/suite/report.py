"""The scores of all runs, gathered for a report."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.suite.runs import Result
from benchmarks.suite.tasks import Task
from cmid import reporting
from cmid.reporting import Report, Section, Table

PICTURES = 4  # of each task and backbone


@dataclass(frozen=True)
class Row:
    """A task: by backbone the mean over seeds, its text with half their range, and pictures."""

    task: Task
    means: Mapping[str, float]
    texts: Mapping[str, str]
    pictures: Mapping[str, Sequence[str]]


def make_rows(
    tasks: Sequence[Task], backbones: Sequence[str], results: Sequence[Result]
) -> list[Row]:
    """Gather results by task; a task without results of every backbone is left out."""
    rows = []
    for task in tasks:
        own = [result for result in results if result.task == task.name]
        runs = {name: [r for r in own if r.backbone == name] for name in backbones}
        if not all(runs.values()):
            continue
        scores = {name: [r.score for r in found] for name, found in runs.items()}
        means = {name: statistics.fmean(each) for name, each in scores.items()}
        texts = {name: f"{means[name]:.1f}{_spread(each)}" for name, each in scores.items()}
        pictures = {name: found[0].pictures[:PICTURES] for name, found in runs.items()}
        rows.append(Row(task, means, texts, pictures))
    return rows


def _spread(scores: Sequence[float]) -> str:
    return f" ± {(max(scores) - min(scores)) / 2:.1f}" if len(scores) > 1 else ""


def note(rows: Sequence[Row], backbones: Sequence[str]) -> str:
    """On how many tasks each backbone beats the last one, random initialisation."""
    *others, last = backbones
    wins = [
        f"{name} on {sum(row.means[name] > row.means[last] for row in rows)}" for name in others
    ]
    return f"Better than {last}, of {len(rows)} tasks: {', '.join(wins)}."


def table(rows: Sequence[Row], backbones: Sequence[str]) -> Table:
    """A row a task, the best score of each marked."""
    lines = []
    for row in rows:
        best = max(row.means.values())
        leads = frozenset(k for k, mean in enumerate(row.means.values(), 1) if mean == best)
        cells = (row.task.measure.name, *row.texts.values())
        lines.append(reporting.Row(row.task.name, cells, leads))
    return Table(("task", "measure", *backbones), tuple(lines), texts=2)


def write_report(
    out: Path, rows: Sequence[Row], backbones: Sequence[str], *, title: str, command: str
) -> None:
    """Write ``report.md`` and ``report.html``: the table, and pictures of each task."""
    sections = [Section("", tables=[table(rows, backbones)])]
    sections += [
        Section(
            row.task.name,
            pictures=[(name, path) for name, paths in row.pictures.items() for path in paths],
        )
        for row in rows
    ]
    reporting.write_report(out, Report(title, command, sections, facts=[note(rows, backbones)]))
