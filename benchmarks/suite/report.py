"""The report of a suite: tables, curves, pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.suite.curves import curve_figure
from benchmarks.suite.rows import Row
from benchmarks.suite.strides import USUAL
from cmid import reporting
from cmid.reporting import Report, Section, Table, markdown_table
from cmid.visualization.saving import save_figure

CURVES = "labels.png"
_SEEDS = (
    "Means over seeds ± half their range; brackets: 95 % interval of the mean over seeds (Student's"
    " t; of two seeds some thirteen times as wide as their range). Differences are paired by seed."
    " A tie: the interval of the difference holds 0, or, where there is none (the same difference"
    " with each seed), the ranges overlap. Bold: the best, and what ties with it; whether intervals"
    " of two scores overlap does not tell that. Intervals are about other seeds of the training on"
    " the same images and starting weights, not about other test images, nor about another"
    " pretraining; they are of single comparisons, and not corrected for their number."
)


@dataclass(frozen=True)
class About:
    """What a report says besides its scores.

    Attributes:
        command: how it was made.
        facts: what has to be known about the backbones, a line each.
        failed: of how many ``runs`` those that left no score, a line each.
    """

    title: str
    command: str
    facts: Sequence[str] = ()
    failed: Sequence[str] = ()
    runs: int = 0


def table(rows: Sequence[Row], backbones: Sequence[str]) -> Table:
    """A row a task and way to learn; marked is the best, and what ties with it."""
    lines = []
    for row in rows:
        leading = row.leading()
        words = (*_ways(rows, row), row.task.measure.name)
        leads = frozenset(k for k, name in enumerate(backbones, len(words)) if name in leading)
        cells = (*words, *(row.text(name) for name in backbones))
        lines.append(reporting.Row(row.task.name, cells, leads))
    head = ("task", *_titles(rows), "measure")
    return Table((*head, *backbones), tuple(lines), texts=len(head))


def lead_table(rows: Sequence[Row], backbones: Sequence[str]) -> list[Table]:
    """How far each backbone is ahead of the last one; nothing where all have one seed."""
    *others, last = backbones
    if not others or not _several_seeds(rows):
        return []
    lines = tuple(
        reporting.Row(
            row.task.name, (*_ways(rows, row), *(row.lead(name, last) for name in others))
        )
        for row in rows
    )
    head = ("task", *_titles(rows))
    return [Table((*head, *(f"{name} - {last}" for name in others)), lines, texts=len(head))]


def notes(rows: Sequence[Row], backbones: Sequence[str]) -> list[str]:
    """On how many tasks each backbone beats the last one, a line a way to learn."""
    *others, last = backbones
    lines: list[str] = []
    for variant in dict.fromkeys(row.variant for row in rows if others):
        own = [row for row in rows if row.variant == variant]
        several = _several_seeds(own)
        way = ", ".join(_ways(rows, own[0]))
        parts = []
        for name in others:
            both = [row for row in own if row.scores[name] and row.scores[last]]
            ties = [row for row in both if row.tie(name, last)] if several else []
            wins = [row for row in both if row.means[name] > row.means[last] and row not in ties]
            counts = [f"ties {len(ties)}"] if several else []
            counts += [f"no scores {len(own) - len(both)}"] if len(both) < len(own) else []
            parts.append(f"{name} on {len(wins)}" + (f" ({', '.join(counts)})" if counts else ""))
        beyond = " beyond the spread of seeds" if several else ""
        start = f"{way}: better" if way else "Better"
        lines.append(f"{start} than {last}{beyond}, of {len(own)} tasks: {', '.join(parts)}.")
    return lines


def as_text(rows: Sequence[Row], backbones: Sequence[str]) -> str:
    """Tables and notes, for a terminal."""
    tables = [table(rows, backbones), *lead_table(rows, backbones)]
    shown = "\n\n".join(markdown_table(each) for each in tables)
    return "\n".join([f"{shown}\n", *notes(rows, backbones)])


def write_report(
    out: Path,
    rows: Sequence[Row],
    backbones: Sequence[str],
    *,
    places: Mapping[str, int],
    about: About,
) -> None:
    """Write ``report.md``, ``report.html`` and, of several numbers of labels, ``labels.png``.

    Args:
        places: of each task, how many labelled images all are; empty if none were counted.
    """
    drawn = []
    if places and len({row.variant.labels for row in rows}) > 1:
        save_figure(curve_figure(rows, backbones, places), out / CURVES)
        drawn = [("score over labelled training images; bars: range of seeds", CURVES)]
    sections = [Section("", tables=[table(rows, backbones)], pictures=drawn)]
    if differences := lead_table(rows, backbones):
        sections.append(Section("Differences", tables=differences))
    sections += [
        Section(
            ", ".join((row.task.name, *_ways(rows, row))),
            pictures=[(name, path) for name, paths in row.pictures.items() for path in paths],
        )
        for row in rows
    ]
    facts = [*notes(rows, backbones), *_explanations(rows), *about.facts]
    report = Report(about.title, about.command, sections, facts, about.failed, f"{about.runs} runs")
    reporting.write_report(out, report)


def _explanations(rows: Sequence[Row]) -> list[str]:
    lines = []
    if _several_seeds(rows):
        lines.append(_SEEDS)
    if any(row.variant.labels != "all" for row in rows):
        lines.append(
            "Labels: labelled training images, of each class in classification; the same for every"
            " backbone, in as many steps as with all."
        )
    if any(row.variant.frozen for row in rows):
        lines.append("Frozen: the backbone stays as it was, statistics of BatchNorm included.")
    return lines


def _several_seeds(rows: Sequence[Row]) -> bool:
    return any(len(own) > 1 for row in rows for own in row.scores.values())


def _titles(rows: Sequence[Row]) -> tuple[str, ...]:
    """Columns of the ways to learn: those in which rows differ from the plain one."""
    titles = []
    if any(row.variant.labels != "all" for row in rows):
        titles.append("labels")
    if any(row.variant.frozen for row in rows):
        titles.append("backbone")
    if any(row.variant.stride != USUAL for row in rows):
        titles.append("stride")
    return tuple(titles)


def _ways(rows: Sequence[Row], row: Row) -> tuple[str, ...]:
    own = row.variant
    told = {"labels": own.labels_name, "backbone": own.mode, "stride": f"stride {own.stride}"}
    return tuple(told[title] for title in _titles(rows))
