"""A report: facts, tables and pictures, as Markdown and as a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, select_autoescape

from cmid.files import write_text
from cmid.reporting.table import Table, markdown_table


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes:
        title: heading of the part; empty for one that begins the report.
        facts: facts about the run, a line each.
        tables: all but the first are folded on the page.
        pictures: caption, and path relative to the report.
    """

    title: str
    facts: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Report:
    """Everything that a reader needs to judge the numbers.

    Attributes:
        command: how it was made.
        facts: about what was measured, a line each.
        skipped: what was left out, a line each; ``total`` is what was asked for, in a word.
    """

    title: str
    command: str
    sections: Sequence[Section]
    facts: Sequence[str] = ()
    skipped: Sequence[str] = ()
    total: str = ""


def write_report(out: Path, report: Report) -> None:
    """Write ``report.md`` and ``report.html`` into a folder, each whole or not at all."""
    templates = Environment(
        loader=PackageLoader("cmid.reporting"),
        autoescape=select_autoescape(["html"]),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["markdown"] = markdown_table
    for name in ("report.md", "report.html"):
        text = templates.get_template(name).render(report=report)
        write_text(out / name, text.strip() + "\n")
