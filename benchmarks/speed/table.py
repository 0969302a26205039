"""Printing and keeping of measured rows."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch

from cmid.files import write_json, write_text
from cmid.reporting import Row, Table, markdown_table


def hardware(device: str | None = None) -> dict[str, Any]:
    """Where a number was measured; by default on the GPU, where there is one."""
    gpu = torch.cuda.is_available() if device is None else device.startswith("cuda")
    name = torch.cuda.get_device_name(device) if gpu else platform.processor()
    return {
        "hardware": name or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def ratio(name: str, times: Sequence[float], others: Sequence[float]) -> dict[str, float]:
    """Median, least and largest ratio of times that were measured in turn, but for a warm-up."""
    ratios = [a / b for a, b in zip(times, others, strict=True)][1:]
    return {name: statistics.median(ratios), "min": min(ratios), "max": max(ratios)}


def show(rows: list[dict[str, Any]], config: Any) -> None:
    """Print rows as a Markdown table, and keep them.

    Args:
        rows: a mapping a row; their keys are the columns, as they come first.
        config: dataclass of what was measured, see `keep`.
    """
    print(f"\n{_table(rows, config)}")
    keep(rows, config)


def keep(rows: list[dict[str, Any]], config: Any) -> None:
    """Write rows with their configuration to its ``out``, where it has one.

    Args:
        rows: those of `show`, or the first of them: the file is whole each time.
        config: dataclass of what was measured; an ``out`` that ends in .md gets the table.
    """
    if not config.out:
        return
    if config.out.endswith(".md"):
        write_text(config.out, f"{_table(rows, config)}\n")
    else:
        write_json(config.out, {"rows": rows, **_context(config)})


def _table(rows: list[dict[str, Any]], config: Any) -> str:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [[_text(row.get(column)) for column in columns] for row in rows]
    lines = tuple(Row(name, tuple(rest)) for name, *rest in cells)
    context = ", ".join(f"{key} {value}" for key, value in _context(config).items())
    return f"{markdown_table(Table(tuple(columns), lines))}\n\n{context}"


def _context(config: Any) -> dict[str, Any]:
    settings = asdict(config)
    del settings["out"]
    return settings | hardware(settings.get("device"))


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
