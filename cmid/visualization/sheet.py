"""Contact sheets: many pictures with a text each."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

_COLUMNS, _LINES, _LETTERS = 6, 5, 30


def contact_sheet(
    pictures: Sequence[NDArray[np.uint8]], titles: Sequence[str], texts: Sequence[str]
) -> Figure:
    """Pictures in rows of six, each below its title and above its text.

    Args:
        pictures: ``(H, W, 3)`` uint8 of any sizes.
        titles, texts: one each; long texts are cut off.
    """
    rows = max(1, -(-len(pictures) // _COLUMNS))
    figure = Figure(figsize=(2.1 * _COLUMNS, 3.0 * rows))  # constrained layout takes seconds
    axes = [*figure.subplots(rows, _COLUMNS, squeeze=False).flat]
    figure.subplots_adjust(0.01, 0.1 / rows, 0.99, 1 - 0.1 / rows, wspace=0.08, hspace=0.4)
    for axis in axes:
        axis.set_axis_off()
    for axis, picture, title, text in zip(axes, pictures, titles, texts, strict=False):
        axis.imshow(picture)
        axis.set_title(title, fontsize=9, parse_math=False)
        lines = textwrap.wrap(text, _LETTERS, max_lines=_LINES, placeholder=" ...")
        # A text of a user may hold a dollar sign.
        below = {"transform": axis.transAxes, "va": "top", "ha": "center", "fontsize": 7}
        axis.text(0.5, -0.03, "\n".join(lines), parse_math=False, **below)
    return figure
