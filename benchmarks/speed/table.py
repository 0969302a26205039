"""Printing and keeping of measured rows."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch

from cmid.files import write_json
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


def ratio(name: str, times: Sequence[float], others: Sequence[float]) -> dict[str, float]:
    """Median, least and largest ratio of times that were measured in turn, but for a warm-up."""
    ratios = [a / b for a, b in zip(times, others, strict=True)][1:]
    return {name: statistics.median(ratios), "min": min(ratios), "max": max(ratios)}


def show(rows: list[dict[str, Any]], config: Any) -> None:
    """Print rows as a Markdown table; write them with their configuration as JSON to its ``out``.

    Args:
        rows: a mapping a row; the first one's keys are the columns.
        config: dataclass of what was measured.
    """
    columns = list(rows[0])
    cells = [[_text(row.get(column, "")) for column in columns] for row in rows]
    lines = tuple(Row(name, tuple(rest)) for name, *rest in cells)
    print(f"\n{markdown_table(Table(tuple(columns), lines))}")
    context = hardware() | asdict(config)
    out = context.pop("out")
    print(", ".join(f"{key} {value}" for key, value in context.items()))
    if out:
        write_json(out, {"rows": rows, **context})


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
