"""Label maps painted: image, truth and prediction side by side, with a legend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

IGNORED_COLOUR = (70, 70, 70)
_SMALLEST_PANEL = 320  # pixels; smaller images are enlarged by a whole factor
_LARGEST_PANEL = 768
_GAP, _LINE, _SWATCH = 8, 22, 14


def paint(
    image: NDArray[np.uint8],
    truth: NDArray[Any] | None,
    prediction: NDArray[Any],
    *,
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
) -> PillowImage.Image:
    """Paint image, truth (if there is one) and prediction in one row above a legend.

    Args:
        image: ``(H, W, 3)`` uint8.
        truth, prediction: ``(H, W)`` class indices; others (255) are shown as ignored.
        classes, palette: names and colours.
    """
    panels = {"image": image, "truth": truth, "prediction": prediction}
    shown = {
        title: array if title == "image" else _coloured(array, palette)
        for title, array in panels.items()
        if array is not None
    }
    height, width = image.shape[:2]
    scale: float = max(1, -(-_SMALLEST_PANEL // max(height, width)))
    scale *= min(1.0, _LARGEST_PANEL / max(height, width))
    size = round(width * scale), round(height * scale)
    total = len(shown) * (size[0] + _GAP) + _GAP
    entries = [*zip(classes, palette, strict=True), ("ignored", IGNORED_COLOUR)]
    columns = max(1, total // _legend_width(classes))
    rows = -(-len(entries) // columns)
    canvas = PillowImage.new("RGB", (total, size[1] + _LINE * (rows + 1) + _GAP), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(14)
    for number, (title, array) in enumerate(shown.items()):
        left = _GAP + number * (size[0] + _GAP)
        pen.text((left, 2), title, fill="black", font=font)
        kind = "BICUBIC" if title == "image" else "NEAREST"
        panel = PillowImage.fromarray(array).resize(size, PillowImage.Resampling[kind])
        canvas.paste(panel, (left, _LINE))
    for number, (name, colour) in enumerate(entries):
        row, column = divmod(number, columns)
        left = _GAP + column * (total - _GAP) // columns
        top = size[1] + _GAP + _LINE * (row + 1)
        box = (left, top, left + _SWATCH, top + _SWATCH)
        pen.rectangle(box, fill=tuple(colour), outline="black")
        pen.text((left + _SWATCH + 5, top - 2), name, fill="black", font=font)
    return canvas


def _coloured(labels: NDArray[Any], palette: Sequence[Sequence[int]]) -> NDArray[np.uint8]:
    table = np.tile(np.array(IGNORED_COLOUR, dtype=np.uint8), (256, 1))
    table[: len(palette)] = palette
    return table[labels.astype(np.uint8)]


def _legend_width(classes: Sequence[str]) -> int:
    font = ImageFont.load_default(14)
    longest = max(font.getlength(name) for name in (*classes, "ignored"))
    return int(longest) + _SWATCH + 2 * _GAP + 5
