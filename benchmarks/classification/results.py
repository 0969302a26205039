"""What a fine-tuning leaves: scores, per-class accuracy, a picture of the confusions."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor

from cmid.files import whole_file, write_json
from cmid.visualization.saving import save_figure


def class_accuracies(confusion: Tensor) -> list[float]:
    """Share of each class's images that were classified right; nan for classes without images.

    Args:
        confusion: ``(K, K)`` counts, true classes in rows.
    """
    return (confusion.diagonal().float() / confusion.sum(dim=1)).tolist()


def confusion_figure(confusion: Tensor, classes: Sequence[str]) -> Figure:
    """Shares of each true class (rows) by predicted class (columns)."""
    shares = confusion.float() / confusion.sum(dim=1, keepdim=True).clamp_min(1)
    side = 2.5 + 0.32 * len(classes)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axis = figure.subplots()
    drawn = axis.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(drawn, ax=axis, shrink=0.7, label="share of the true class")
    ticks = range(len(classes))
    axis.set_xticks(ticks, classes, rotation=60, ha="right", fontsize=8)
    axis.set_yticks(ticks, classes, fontsize=8)
    axis.set(xlabel="predicted", ylabel="true")
    for row in ticks:
        for column in ticks:
            share = float(shares[row, column])
            if share >= 0.005:
                colour = "white" if share > 0.5 else "black"
                axis.text(
                    column,
                    row,
                    f"{100 * share:.0f}",
                    ha="center",
                    va="center",
                    color=colour,
                    fontsize=6,
                )
    return figure


def write_results(
    folder: Path, scores: Mapping[str, Tensor], classes: Sequence[str], about: Mapping[str, Any]
) -> None:
    """Write ``results.json``, ``classes.csv`` and ``confusion.png``."""
    confusion = scores["confusion"]
    each = class_accuracies(confusion)
    plain = {name: float(value) for name, value in scores.items() if value.ndim == 0}
    write_json(folder / "results.json", {**about, **plain})
    rows = [("class", "images", "accuracy")]
    counts = confusion.sum(dim=1).tolist()
    rows += [(n, str(c), f"{a:.4f}") for n, c, a in zip(classes, counts, each, strict=True)]
    with whole_file(folder / "classes.csv") as partial, partial.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    save_figure(confusion_figure(confusion, classes), folder / "confusion.png")
