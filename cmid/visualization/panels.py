"""Pictures in one row above a legend: what a model saw, what is true, what it said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

IGNORED_COLOUR = (70, 70, 70)
_LARGEST_PANEL = 768  # pixels
_GAP, _LINE, _SWATCH = 8, 22, 14


def panels(
    pictures: Mapping[str, NDArray[np.uint8]],
    legend: Sequence[tuple[str, Sequence[int]]],
    *,
    smooth: Sequence[str] = (),
    smallest: int = 320,
) -> PillowImage.Image:
    """Paint pictures of one size side by side, with their titles above and a legend below.

    Args:
        pictures: by title, ``(H, W, 3)`` uint8. Small ones are enlarged by a whole factor, large
            ones shrunk.
        legend: names and colours, or none.
        smooth: titles of pictures that are interpolated; others show their pixels.
        smallest: pixels of the longer side that enlarging reaches at least.
    """
    height, width = next(iter(pictures.values())).shape[:2]
    scale: float = max(1, -(-smallest // max(height, width)))
    scale *= min(1.0, _LARGEST_PANEL / max(height, width))
    size = round(width * scale), round(height * scale)
    font = ImageFont.load_default(14)
    longest = max((font.getlength(name) for name, _ in legend), default=0.0)
    entry = int(longest) + _SWATCH + 2 * _GAP + 5
    total = max(len(pictures) * (size[0] + _GAP), min(len(legend), 4) * entry) + _GAP
    columns = max(1, total // entry)
    rows = -(-len(legend) // columns)
    canvas = PillowImage.new("RGB", (total, size[1] + _LINE * (rows + 1) + _GAP), "white")
    pen = ImageDraw.Draw(canvas)
    for number, (title, array) in enumerate(pictures.items()):
        left = _GAP + number * (size[0] + _GAP)
        pen.text((left, 2), title, fill="black", font=font)
        kind = "BICUBIC" if title in smooth else "NEAREST"
        panel = PillowImage.fromarray(array).resize(size, PillowImage.Resampling[kind])
        canvas.paste(panel, (left, _LINE))
    for number, (name, colour) in enumerate(legend):
        row, column = divmod(number, columns)
        left = _GAP + column * (total - _GAP) // columns
        top = size[1] + _GAP + _LINE * (row + 1)
        box = (left, top, left + _SWATCH, top + _SWATCH)
        pen.rectangle(box, fill=tuple(colour), outline="black")
        pen.text((left + _SWATCH + 5, top - 2), name, fill="black", font=font)
    return canvas


def label_panels(
    image: NDArray[np.uint8],
    truth: NDArray[Any] | None,
    prediction: NDArray[Any],
    *,
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
) -> PillowImage.Image:
    """Paint image, truth (if there is one) and prediction.

    Args:
        image: ``(H, W, 3)`` uint8.
        truth, prediction: ``(H, W)`` class indices; others (255) are shown as ignored.
        classes, palette: names and colours.
    """
    colours = np.tile(np.array(IGNORED_COLOUR, dtype=np.uint8), (256, 1))
    colours[: len(palette)] = palette
    pictures = {"image": image}
    for title, labels in (("truth", truth), ("prediction", prediction)):
        if labels is not None:
            pictures[title] = colours[labels.astype(np.uint8)]
    legend = [*zip(classes, palette, strict=True), ("ignored", IGNORED_COLOUR)]
    return panels(pictures, legend, smooth=["image"])
