"""The scores of several models as Markdown and as a page, with painted maps."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment

from benchmarks.vision_language.outcome import Evaluation, Outcome
from cmid.files import write_text

_PAGE = """\
<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{{ title }}</title>
<style>
body { font: 15px/1.5 sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem }
table { border-collapse: collapse } td, th { padding: .2rem .8rem; border-bottom: 1px solid #ccc }
td, th { text-align: left } td.n, th.n { text-align: right } .best { font-weight: bold }
figure { margin: 1rem 0 } img { max-width: 100% } figcaption { color: #555 }
pre { background: #f4f4f4; padding: .8rem; overflow-x: auto } .skipped { color: #a00 }
</style>
<h1>{{ title }}</h1>
<pre>{{ command }}</pre>
<ul>{% for line in models %}<li>{{ line }}</li>{% endfor %}</ul>
{% if skipped %}<p class="skipped">Left out: {{ skipped | length }} of {{ total }} evaluations.</p>
<ul class="skipped">{% for line in skipped %}<li>{{ line }}</li>{% endfor %}</ul>{% endif %}
{% for section in sections %}
<h2>{{ section.title }}</h2>
<ul>{% for line in section.facts %}<li>{{ line }}</li>{% endfor %}</ul>
{% for table in section.tables %}
{% if not loop.first %}<details><summary>{{ table.head[0] }}</summary>{% endif %}
<table>
<tr>{% for cell in table.head %}<th{% if not loop.first %} class="n"{% endif %}>{{ cell }}</th>
{% endfor %}</tr>
{% for row in table.rows %}<tr><td>{{ row.name }}</td>
{% for cell in row.cells %}<td class="n{{ " best" if loop.index0 in row.best }}">{{ cell }}</td>
{% endfor %}</tr>
{% endfor %}
</table>
{% if not loop.first %}</details>{% endif %}
{% endfor %}
{% for name, path in section.pictures %}
<figure><img src="{{ path }}" alt=""><figcaption>{{ name }}</figcaption></figure>
{% endfor %}
{% endfor %}
</html>
"""


@dataclass(frozen=True)
class Row:
    """Cells of a table behind a name; ``best`` are the places of the best models."""

    name: str
    cells: tuple[str, ...]
    best: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Table:
    """A head and rows."""

    head: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Section:
    """One evaluation of all models: facts, scores (first table), classes (second), pictures."""

    title: str
    facts: tuple[str, ...]
    tables: tuple[Table, ...]
    pictures: tuple[tuple[str, str], ...]


def make_section(evaluation: Evaluation, outcomes: Mapping[str, Outcome], *, out: Path) -> Section:
    """Gather what models got in one evaluation.

    Args:
        outcomes: by model.
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


def markdown_table(table: Table) -> str:
    """A Markdown table, the best of each row bold."""
    lines = [f"| {' | '.join(table.head)} |", "| --- " + "| ---: " * (len(table.head) - 1) + "|"]
    for row in table.rows:
        cells = [f"**{c}**" if k in row.best else c for k, c in enumerate(row.cells)]
        lines.append(f"| {' | '.join([row.name, *cells])} |")
    return "\n".join(lines)


def write_report(
    out: Path,
    sections: Sequence[Section],
    *,
    title: str,
    command: str,
    models: Sequence[str],
    skipped: Sequence[str],
    results: Any,
) -> None:
    """Write ``report.md``, ``report.html`` and ``results.json``, each whole or not at all.

    Args:
        models: a line a model.
        skipped: a line an evaluation that was left out.
        results: for ``results.json``.
    """
    total = len(sections) + len(skipped)
    page = Environment(autoescape=True).from_string(_PAGE)
    html = page.render(
        title=title, command=command, models=models, skipped=skipped, sections=sections, total=total
    )
    lines = [f"# {title}", f"    {command}", "\n".join(f"- {line}" for line in models)]
    if skipped:
        lines.append(f"**Left out: {len(skipped)} of {total} evaluations.**")
        lines.append("\n".join(f"- {line}" for line in skipped))
    for section in sections:
        lines.append(f"## {section.title}")
        lines.append("\n".join(f"- {fact}" for fact in section.facts))
        lines += [markdown_table(table) for table in section.tables]
        lines += [f"![{name}]({path})\n\n{name}" for name, path in section.pictures]
    files = {
        "report.md": "\n\n".join(lines) + "\n",
        "report.html": html,
        "results.json": json.dumps(results, indent=2) + "\n",
    }
    for name, content in files.items():
        write_text(out / name, content)
