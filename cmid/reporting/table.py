"""Tables of scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """Cells of a table behind a name; ``best`` are the places of the best cells."""

    name: str
    cells: tuple[str, ...]
    best: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Table:
    """A head and rows.

    Attributes:
        head: column titles, that of the row names first.
        rows: named rows, each with one cell less than the head has.
        texts: columns from the left that hold words; numbers stand at the right.
    """

    head: tuple[str, ...]
    rows: tuple[Row, ...]
    texts: int = 1


def markdown_table(table: Table, *, aligned: bool = False) -> str:
    """A Markdown table, the best cells bold.

    Args:
        aligned: pad the cells, for terminals.
    """
    rule = ["---" if column < table.texts else "---:" for column in range(len(table.head))]
    rows = [
        [row.name, *(f"**{c}**" if k in row.best else c for k, c in enumerate(row.cells))]
        for row in table.rows
    ]
    lines: list[Sequence[str]] = [table.head, rule, *rows]
    if aligned:
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        lines[1] = ["-" * width for width in widths]
        lines = [[c.ljust(w) for c, w in zip(line, widths, strict=True)] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
