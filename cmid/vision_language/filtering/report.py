"""What a filter did, for somebody who has to trust it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cmid.data.source import UnreadableImageError
from cmid.reporting import Report, Row, Section, Table, write_report
from cmid.vision_language.data.source import ImageTextSource
from cmid.vision_language.filtering.choosing import REASONS, Choice, Pairs
from cmid.visualization.saving import save_figure
from cmid.visualization.sheet import contact_sheet

_SHOWN = 18
_PIXELS = 160
_DOTS = 20_000  # of the plot of score against length


def report_filter(
    folder: Path,
    sources: Sequence[ImageTextSource],
    names: Sequence[str],
    pairs: Pairs,
    choice: Choice,
    text: NDArray[np.int32],
    *,
    command: str,
    facts: Sequence[str],
) -> None:
    """Write counts by reason, histograms, score against length, and the best and worst pairs.

    Args:
        names: of the sources.
        text: ``(N,)`` number of each pair's text within its image.
        facts: about scorer and options, a line each.
    """
    sections = [
        Section("What was kept and what was dropped", tables=[counts_table(pairs, choice, names)])
    ]
    scored = np.flatnonzero(np.isfinite(pairs.score))
    pictures: list[tuple[str, str]] = []
    if len(scored):
        save_figure(_histograms(pairs, choice, scored), folder / "scores.png")
        save_figure(_against_length(pairs, choice, scored), folder / "length.png")
        pictures = [
            ("Scores of what was kept and of what was dropped.", "scores.png"),
            ("Scores, and what pairs are ranked by, against the number of words.", "length.png"),
        ]
        order = scored[np.argsort(-choice.ranked_by[scored], kind="stable")]
        for title, rows in (("best", order[:_SHOWN]), ("worst", order[::-1][:_SHOWN])):
            _sheet(folder / f"{title}.png", sources, pairs, choice, text, rows)
            pictures.append((f"The {title} by rank.", f"{title}.png"))
    sections.append(Section("Scores", pictures=pictures))
    write_report(folder, Report("Filtered image-text pairs", command, sections, facts))


def counts_table(pairs: Pairs, choice: Choice, names: Sequence[str]) -> Table:
    """Pairs of each source by what became of them."""
    rows = []
    for number, reason in enumerate(REASONS):
        found = choice.reason == number
        if found.any() or not number:
            counts = [np.count_nonzero(found & (pairs.source == k)) for k in range(len(names))]
            total = [np.count_nonzero(found), f"{np.mean(found):.1%}" if len(found) else "-"]
            rows.append(Row(reason or "kept", tuple(map(str, [*counts, *total]))))
    return Table(("pairs", *names, "all", "share"), tuple(rows))


def _histograms(pairs: Pairs, choice: Choice, scored: NDArray[np.int64]) -> Figure:
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axis = figure.subplots()
    kept, score = choice.kept[scored], pairs.score[scored]
    bins = np.linspace(score.min(), score.max() + 1e-6, 61).tolist()
    shown = {"kept": score[kept], "dropped": score[~kept]}
    axis.hist([*shown.values()], bins=bins, stacked=True, label=[*shown])
    axis.set(xlabel="score", ylabel="pairs")
    axis.legend()
    return figure


def _against_length(pairs: Pairs, choice: Choice, scored: NDArray[np.int64]) -> Figure:
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    some = np.random.default_rng(0).permutation(scored)[:_DOTS]
    words = pairs.words[some]
    for axis, values, name in zip(
        figure.subplots(1, 2),
        (pairs.score[some], choice.ranked_by[some]),
        ("score", "ranked by"),
        strict=True,
    ):
        for kept, colour in ((False, "tab:orange"), (True, "tab:blue")):
            chosen = choice.kept[some] == kept
            axis.scatter(words[chosen], values[chosen], s=4, alpha=0.4, lw=0, color=colour)
        lengths = np.unique(words)
        axis.plot(lengths, [np.median(values[words == n]) for n in lengths], color="black", lw=1)
        spread = len(lengths) > 1 and values.std() > 0
        r = np.corrcoef(np.log1p(words), values)[0, 1] if spread else 0.0
        title = f"correlation with the logarithm of the length {r:.2f}"
        axis.set(xlabel="words", ylabel=name, title=title)
        axis.title.set_fontsize(9)
    return figure


def _sheet(
    path: Path,
    sources: Sequence[ImageTextSource],
    pairs: Pairs,
    choice: Choice,
    text: NDArray[np.int32],
    rows: NDArray[np.int64],
) -> None:
    pictures, titles, texts = [], [], []
    for row in rows.tolist():
        source, index = sources[pairs.source[row]], int(pairs.index[row])
        try:
            item = source.read(index, min_size=(_PIXELS, _PIXELS))
        except UnreadableImageError:  # gone since it was scored
            continue
        pictures.append(item.image.pixels.permute(1, 2, 0).numpy())
        reason = REASONS[choice.reason[row]] or "kept"
        name = source.name(index).rpartition("/")[2]
        titles.append(f"{pairs.score[row]:.2f}, {reason}\n{name}")
        texts.append(item.captions[text[row]])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # the font has not all scripts
        save_figure(contact_sheet(pictures, titles, texts), path)
