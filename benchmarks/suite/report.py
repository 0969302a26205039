"""The scores of all runs as Markdown and as a page with pictures."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment

from benchmarks.suite.runs import Result
from benchmarks.suite.tasks import Task
from cmid.files import write_text

PICTURES = 4  # of each task and backbone

_PAGE = """\
<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{{ title }}</title>
<style>
body { font: 15px/1.5 sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem }
table { border-collapse: collapse } td, th { padding: .3rem .8rem; border-bottom: 1px solid #ccc }
td + td, th + th { text-align: right } .best { font-weight: bold }
figure { display: inline-block; margin: .5rem; vertical-align: top }
img { max-width: 34rem; min-width: 12rem; image-rendering: auto } figcaption { color: #555 }
pre { background: #f4f4f4; padding: .8rem; overflow-x: auto }
</style>
<h1>{{ title }}</h1>
<pre>{{ command }}</pre>
<table>
<tr><th>task</th><th>measure</th>{% for name in backbones %}<th>{{ name }}</th>{% endfor %}</tr>
{% for row in rows %}
<tr><td>{{ row.task.name }}</td><td>{{ row.task.measure }}</td>
{% for cell in row.cells %}<td{% if cell.best %} class="best"{% endif %}>{{ cell.text }}</td>
{% endfor %}</tr>
{% endfor %}
</table>
<p>{{ note }}</p>
{% for row in rows %}
<h2>{{ row.task.name }}</h2>
{% for name, paths in row.pictures.items() %}{% for path in paths %}
<figure><img src="{{ path }}" alt=""><figcaption>{{ name }}</figcaption></figure>
{% endfor %}{% endfor %}
{% endfor %}
</html>
"""


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


def markdown(rows: Sequence[Row], backbones: Sequence[str]) -> str:
    """The table, the best score of each task bold."""
    lines = [
        "| task | measure | " + " | ".join(backbones) + " |",
        "| --- " * (len(backbones) + 2) + "|",
    ]
    for row in rows:
        cells = (f"**{cell.text}**" if cell.best else cell.text for cell in row.cells)
        lines.append(f"| {row.task.name} | {row.task.measure} | {' | '.join(cells)} |")
    return "\n".join(lines)


def write_report(
    out: Path, rows: Sequence[Row], backbones: Sequence[str], *, title: str, command: str
) -> None:
    """Write ``report.md`` and ``report.html``, whole or not at all."""
    summary = note(rows, backbones)
    text = f"# {title}\n\n    {command}\n\n{markdown(rows, backbones)}\n\n{summary}\n"
    page = Environment(autoescape=True).from_string(_PAGE)
    html = page.render(title=title, command=command, backbones=backbones, rows=rows, note=summary)
    for name, content in (("report.md", text), ("report.html", html)):
        write_text(out / name, content)
