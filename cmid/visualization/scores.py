"""Scores of backbones with their intervals."""

from __future__ import annotations

import math

from matplotlib.figure import Figure

from cmid.evaluation.results import Results
from cmid.evaluation.score import Score

_STYLES = {"frozen": ":", "fine-tuned": "-", "from scratch": "--"}
_ACROSS = 5  # panels beside each other


def score_figure(results: Results) -> Figure:
    """One panel a measure, one line a backbone: its score and the 95 % interval."""
    names = [*results.found][::-1]
    measures = list(
        dict.fromkeys(
            measure
            for found in results.found.values()
            for measure, score in found.items()
            if isinstance(score, Score)
        )
    )
    across = min(_ACROSS, len(measures))
    down = -(-len(measures) // across)
    beside = 0.5 + 0.07 * max(map(len, names))  # inches of the longest name, a path often
    size = (2.4 * across + max(1.5, beside), (0.35 * len(names) + 0.8) * down)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(down, across, sharey=True, squeeze=False).flatten()
    for axis, measure in zip(axes, measures, strict=False):
        for place, name in enumerate(names):
            score = results.found[name].get(measure)
            if not isinstance(score, Score):
                continue
            low, high = score.interval
            ends = [[0.0], [0.0]]
            if not math.isnan(low):
                ends = [[max(score.value - low, 0)], [max(high - score.value, 0)]]
            axis.errorbar([score.value], [place], xerr=ends, marker="o", capsize=3)
        axis.set_yticks(range(len(names)), names, fontsize=8)
        axis.set_ylim(-0.5, len(names) - 0.5)
        axis.set_title(measure, fontsize=10)
        axis.grid(axis="x", alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[len(measures) :]:
        axis.set_visible(False)
    return figure


def label_figure(results: Results) -> Figure:
    """Accuracy over labelled images a class, one line a start and a way to train.

    Args:
        results: of `cmid.evaluation.label_curve.LabelCurves`.
    """
    places = results.about["labels"]
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axis = figure.subplots()
    starts = list(dict.fromkeys(name.rpartition(", ")[0] for name in results.found))
    for name, found in results.found.items():
        start, _, mode = name.rpartition(", ")
        scores = {places[k]: own for k, own in found.items() if isinstance(own, Score)}
        values = [own.value for own in scores.values()]
        ends = [own.interval for own in scores.values()]
        below = [max(value - low, 0) for value, (low, _) in zip(values, ends, strict=True)]
        above = [max(high - value, 0) for value, (_, high) in zip(values, ends, strict=True)]
        axis.errorbar(
            [*scores],
            values,
            yerr=[below, above],
            label=name,
            color=f"C{starts.index(start)}",
            linestyle=_STYLES.get(mode, "-"),
            marker="o",
            markersize=3,
            capsize=2,
        )
    axis.set(xlabel="labelled images a class", ylabel="accuracy", xscale="log")
    axis.set_xticks([*places.values()], [name.partition(" ")[0] for name in places])
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    return figure
