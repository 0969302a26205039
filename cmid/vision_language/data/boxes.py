"""Upright boxes of annotation files: checked, and limited in size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cmid.boxes import Box, area, overlap
from cmid.vision_language.data.problems import AnnotationError


@dataclass(frozen=True)
class BoxLimitConfig:
    """Which boxes are used, by their area in square pixels of the stored image.

    FarSLIP (arXiv:2511.14901) takes ``min_area`` 64 * 64 and ``max_area`` 1024 * 1024.
    """

    min_area: float = 0.0
    max_area: float = math.inf

    def __post_init__(self) -> None:
        if not 0 <= self.min_area <= self.max_area:
            raise ValueError(f"box limits {self} are no range of areas: min_area <= max_area")

    def admit(self, box: Box) -> bool:
        return self.min_area <= area(box) <= self.max_area


def check_box(values: Sequence[Any], size: tuple[float, float], *, overhang: float) -> Box:
    """Check four corners, and cut off what little lies outside of the image.

    Args:
        values: x0, y0, x1, y1.
        size: height and width of the image, in the unit of the values.
        overhang: how far a box may reach over the border.

    Raises:
        AnnotationError: not four finite numbers, reversed or equal corners, outside.
    """
    if not all(_is_number(value) for value in values):
        raise AnnotationError(f"its box {(*values,)} is not four finite numbers")
    x0, y0, x1, y1 = (float(value) for value in values)
    if x1 <= x0 or y1 <= y0:
        raise AnnotationError(f"its box {(*values,)} has reversed or equal corners")
    height, width = size
    reach = max(-x0, -y0, x1 - width, y1 - height)
    x0, y0, x1, y1 = overlap((x0, y0, x1, y1), (0.0, 0.0, width, height))
    if reach > overhang or x1 <= x0 or y1 <= y0:
        raise AnnotationError(
            f"its box {(*values,)} lies outside of the image of width {width:g}, height {height:g}"
        )
    return x0, y0, x1, y1


def check_size(height: Any, width: Any) -> tuple[int, int]:
    """Height and width of an image in pixels; raises AnnotationError for anything else."""
    if not all(_is_number(v) and v > 0 and v == int(v) for v in (height, width)):
        raise AnnotationError(f"its image has height {height!r} and width {width!r}, not pixels")
    return int(height), int(width)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
