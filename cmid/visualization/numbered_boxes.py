"""Boxes drawn on an image, upright or turned, each with its number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from cmid.boxes import Floats

COLOURS = (
    (230, 25, 75),
    (0, 130, 200),
    (245, 130, 48),
    (145, 30, 180),
    (0, 128, 128),
    (170, 110, 40),
)
_REGION = (255, 225, 25)
_SMALLEST, _LARGEST = 512, 1280  # pixels of the longer side of what is drawn


def draw_boxes(
    image: NDArray[np.uint8], boxes: Sequence[Floats], *, region: Floats | None = None
) -> PillowImage.Image:
    """Draw boxes numbered from 1.

    Args:
        image: ``(H, W, 3)`` uint8; small ones are enlarged by a whole factor, large ones shrunk.
        boxes: ``(K, 2)`` corners each, x and y in fractions of the image's sides.
        region: corners of what the user pointed at, drawn in yellow without a number.
    """
    height, width = image.shape[:2]
    longest = max(height, width)
    scale = max(1, -(-_SMALLEST // longest)) if longest < _SMALLEST else min(1, _LARGEST / longest)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    picture = PillowImage.fromarray(image).resize(size, PillowImage.Resampling.BICUBIC)
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(16)
    if region is not None:
        _outline(pen, region, size, _REGION)
    for number, corners in enumerate(boxes, 1):
        colour = COLOURS[(number - 1) % len(COLOURS)]
        points = _outline(pen, corners, size, colour)
        left, top = min(points, key=lambda point: (point[1], point[0]))
        tag = pen.textbbox((0, 0), str(number), font=font)
        wide, high = tag[2] + 7, tag[3] + 5
        left, top = min(max(0, left), size[0] - wide), min(max(0, top - high), size[1] - high)
        pen.rectangle((left, top, left + wide, top + high), fill=colour)
        pen.text((left + 4, top + 1), str(number), fill="white", font=font)
    return picture


def _outline(
    pen: ImageDraw.ImageDraw, corners: Floats, size: tuple[int, int], colour: tuple[int, int, int]
) -> list[tuple[float, float]]:
    """Draw a closed line; its points in pixels."""
    points = [(x * size[0], y * size[1]) for x, y in corners.tolist()]
    pen.line([*points, points[0], points[1]], fill=colour, width=3, joint="curve")
    return points
