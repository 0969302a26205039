"""Scores over labelled images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from matplotlib.figure import Figure

from benchmarks.suite.rows import Row
from benchmarks.suite.strides import USUAL

_STYLES = {"frozen": ":", "fine-tuned": "-"}
_MARKERS = {USUAL: "o", 16: "s", 8: "^"}  # of strides


def curve_figure(
    rows: Sequence[Row], backbones: Sequence[str], places: Mapping[str, int]
) -> Figure:
    """One panel a task; a colour a backbone, dotted where it is frozen, squares and triangles of
    finer strides; bars: range of seeds.

    Args:
        places: of each task, how many labelled images all are.
    """
    tasks = list(dict.fromkeys(row.task for row in rows))
    figure = Figure(figsize=(3.2 * len(tasks) + 0.5, 3.6), layout="constrained")
    lines = {}
    for axis, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
        own = [row for row in rows if row.task == task]
        ticks = {_place(row, places): row.variant.labels for row in own}
        for way in dict.fromkeys(replace(row.variant, labels="all") for row in own):
            curve = sorted(
                (row for row in own if replace(row.variant, labels="all") == way),
                key=lambda row: _place(row, places),
            )
            named = f"{way.mode}, stride {way.stride}" if way.stride != USUAL else way.mode
            for number, name in enumerate(backbones):
                known = [row for row in curve if row.scores[name]]
                lines[f"{name}, {named}"] = axis.errorbar(
                    [_place(row, places) for row in known],
                    [row.means[name] for row in known],
                    yerr=_ends(known, name),
                    color=f"C{number}",
                    linestyle=_STYLES[way.mode],
                    marker=_MARKERS[way.stride],
                    markersize=3,
                    capsize=2,
                )
        axis.set(title=task.name, ylabel=task.measure.name, xscale="log", xlabel="labelled images")
        axis.set_xticks([*ticks], [*ticks.values()])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    figure.legend([*lines.values()], [*lines], loc="outside lower center", fontsize=8, ncols=2)
    return figure


def _place(row: Row, places: Mapping[str, int]) -> int:
    return places[row.task.name] if row.variant.labels == "all" else int(row.variant.labels)


def _ends(curve: Sequence[Row], name: str) -> list[list[float]]:
    """Below and above the means, the worst and the best seed."""
    seeds = [row.scores[name].values() for row in curve]
    means = [row.means[name] for row in curve]
    below = [mean - min(each) for mean, each in zip(means, seeds, strict=True)]
    above = [max(each) - mean for mean, each in zip(means, seeds, strict=True)]
    return [below, above]
