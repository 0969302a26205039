"""The scores of all runs, gathered for a report."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.suite.runs import Result
from benchmarks.suite.tasks import Task
from cmid import reporting
from cmid.reporting import Report, Section, Table, markdown_table

PICTURES = 4  # of each task and backbone


@dataclass(frozen=True)
class Cell:
    """Mean over seeds, with half their range."""

    text: str
    mean: float
    best: bool


@dataclass(frozen=True)
class Row:
    """A task: its cells, and pictures by backbone."""

    task: Task
    cells: tuple[Cell, ...]
    pictures: Mapping[str, Sequence[str]]


def make_rows(
    tasks: Sequence[Task], backbones: Sequence[str], results: Sequence[Result]
) -> list[Row]:
    """Gather results by task; a task without results of every backbone is left out."""
    rows = []
    for task in tasks:
        own = [result for result in results if result.task == task.name]
        found = {name: [r for r in own if r.backbone == name] for name in backbones}
        if not all(found.values()):
            continue
        means = {b: statistics.fmean(r.score for r in runs) for b, runs in found.items()}
        cells = []
        for name, runs in found.items():
            scores = [r.score for r in runs]
            spread = f" ± {(max(scores) - min(scores)) / 2:.1f}" if len(scores) > 1 else ""
            best = means[name] == max(means.values())
            cells.append(Cell(f"{means[name]:.1f}{spread}", means[name], best))
        pictures = {b: runs[0].pictures[:PICTURES] for b, runs in found.items()}
        rows.append(Row(task, tuple(cells), pictures))
    return rows


def note(rows: Sequence[Row], backbones: Sequence[str]) -> str:
    """On how many tasks each backbone beats the last one, random initialisation."""
    wins = [
        f"{name} on {sum(row.cells[i].mean > row.cells[-1].mean for row in rows)}"
        for i, name in enumerate(backbones[:-1])
    ]
    return f"Better than {backbones[-1]}, of {len(rows)} tasks: {', '.join(wins)}."


def table(rows: Sequence[Row], backbones: Sequence[str]) -> Table:
    """A row a task, the best score of each marked."""
    return Table(
        ("task", "measure", *backbones),
        tuple(
            reporting.Row(
                row.task.name,
                (row.task.measure, *(cell.text for cell in row.cells)),
                frozenset(place for place, cell in enumerate(row.cells, start=1) if cell.best),
            )
            for row in rows
        ),
        texts=2,
    )


def markdown(rows: Sequence[Row], backbones: Sequence[str]) -> str:
    """The table, the best score of each task bold."""
    return markdown_table(table(rows, backbones))


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
