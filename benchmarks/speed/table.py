"""Printing and keeping of measured rows."""

from __future__ import annotations

import json
import os
import platform
from typing import Any

import torch

from cmid.files import write_text
from cmid.reporting import Row, Table, markdown_table


def hardware() -> dict[str, Any]:
    """Where a number was measured."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor()
    return {
        "device": name or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def show(rows: list[dict[str, Any]], *, out: str | None = None, **context: Any) -> None:
    """Print rows as a Markdown table; write them with their context as JSON."""
    columns = list(rows[0])
    cells = [[_text(row.get(column, "")) for column in columns] for row in rows]
    lines = tuple(Row(name, tuple(rest)) for name, *rest in cells)
    print(f"\n{markdown_table(Table(tuple(columns), lines))}")
    print(", ".join(f"{key} {value}" for key, value in {**hardware(), **context}.items()))
    if out:
        write_text(out, json.dumps({"rows": rows, **hardware(), **context}, indent=2) + "\n")


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
