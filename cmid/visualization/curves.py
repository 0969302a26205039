"""Losses and kNN accuracy over the steps of a run."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

Series = dict[str, list[tuple[int, float]]]


def read_metrics(run_dir: Path) -> Series:
    """All metrics that the CSV loggers of a run wrote, also those of its resumed parts.

    Returns:
        name to ``(step, value)``, by step; of repeated steps the last one counts.
    """
    series: dict[str, dict[int, float]] = defaultdict(dict)
    files = sorted(run_dir.glob("csv/version_*/metrics.csv"), key=lambda f: f.stat().st_mtime)
    for file in files:
        with file.open(newline="") as lines:
            for row in csv.DictReader(lines):
                step = int(float(row.pop("step") or 0))
                for name, value in row.items():
                    if value:
                        series[name][step] = float(value)
    return {name: sorted(points.items()) for name, points in series.items()}


def curve_figure(
    series: Series, *, scores_of: str = "knn", title: str = "kNN accuracy of the backbone"
) -> Figure:
    """Losses on the left, scores on the right (with the random initialisation as a line).

    Args:
        series: what `read_metrics` returns.
        scores_of: what the names of the scores begin with, before the ``/``.
        title: title of the panel of scores.
    """
    losses = {k.removeprefix("loss/"): v for k, v in series.items() if k.startswith("loss/")}
    prefix = f"{scores_of}/"
    scores = {k.removeprefix(prefix): v for k, v in series.items() if k.startswith(prefix)}
    initial = scores.pop("random_init", None)
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, points in losses.items():
        left.plot(*zip(*points, strict=True), label=name)
    left.set(xlabel="step", ylabel="loss", yscale="log", title="losses")
    for name, points in scores.items():
        right.plot(*zip(*points, strict=True), marker="o", markersize=3, label=name)
    if initial:
        right.axhline(initial[0][1], color="grey", linestyle="--", label="random initialisation")
    right.set(xlabel="step", ylabel="accuracy", title=title)
    for axis in (left, right):
        axis.grid(alpha=0.3)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize=8)
    return figure


def line_figure(
    lines: Mapping[str, Sequence[tuple[float, ...]]], *, xlabel: str, ylabel: str, title: str
) -> Figure:
    """Lines over one axis.

    Args:
        lines: by name ``(x, y)``, or ``(x, y, error)`` for lines with error bars.
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    for name, points in lines.items():
        x, y, *error = zip(*points, strict=True)
        if error:
            axis.errorbar(x, y, error[0], marker="o", markersize=3, capsize=2, label=name)
        else:
            axis.plot(x, y, label=name)
    axis.set(xlabel=xlabel, ylabel=ylabel, title=title)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    return figure
