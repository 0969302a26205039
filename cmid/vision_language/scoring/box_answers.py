"""Boxes that a language model writes: their notations, their grids, how well they fit."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from scipy.optimize import linear_sum_assignment

from cmid.boxes import Floats, area, convex_overlap, is_convex, overlap, polygon_area

Grid = Literal["pixel", "normalised", "thousand"]
Numbers = tuple[float, ...]
"""A box as written: two corners, two corners and an angle in degrees, or four corners."""
# What an overlap is worth (arXiv:2503.00743): more than so much, the reward.
STEPS = ((0.8, 1.0), (0.7, 0.7), (0.6, 0.6), (0.5, 0.5))
_ROUNDING = 1e-9  # an overlap of exactly 0.5 is not above it on any grid

_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)"
_POINT = rf"\(\s*{_NUMBER}\s*,\s*{_NUMBER}\s*\)"
# [78, 216, 367, 456] | (78,216),(367,456) | {<10><20><30><40>|<15>}, and what tries to be one.
_BOX = re.compile(rf"\[([^\[\]()]*)\]|({_POINT}(?:\s*(?:,\s*)?{_POINT})?)|\{{(<[^{{}}]*>)\}}")
_SEPARATED = re.compile(rf"\s*{_NUMBER}(?:(?:\s*,\s*|\s+){_NUMBER})*\s*")


@dataclass(frozen=True)
class Frame:
    """How the numbers of a box become pixels, or any unit with square cells.

    Attributes:
        x: pixels per unit along the width.
        y: pixels per unit along the height.
    """

    x: float = 1.0
    y: float = 1.0

    @classmethod
    def of(cls, grid: str, *, width: float = 1.0, height: float = 1.0) -> Frame:
        """The frame of a grid in an image of a given size.

        Raises:
            ValueError: no such grid.
        """
        if grid not in get_args(Grid):
            raise ValueError(f"no grid {grid!r} of boxes: one of {', '.join(get_args(Grid))}")
        if grid == "pixel":
            return cls()
        cells = 1 if grid == "normalised" else 1000
        return cls(width / cells, height / cells)


def read_boxes(answer: str | Sequence[Any]) -> list[Numbers] | None:
    """Boxes of an answer, in the order in which they are written.

    ``[x0, y0, x1, y1]`` or ``(x0,y0),(x1,y1)`` is upright, ``[x0, y0, x1, y1, degrees]`` or
    ``{<x0><y0><x1><y1>|<degrees>}`` is turned clockwise around its centre, and
    ``[x0, y0, ..., x3, y3]`` names four corners.

    Args:
        answer: a text, or nested lists of numbers.

    Returns:
        None where brackets hold something else: which boxes are meant would be a guess.
    """
    text = answer if isinstance(answer, str) else json.dumps(answer)
    boxes = []
    for listed, points, marked in _BOX.findall(text):
        if listed.strip() == "" and not points and not marked:
            continue  # an empty list: no boxes
        if listed and not _SEPARATED.fullmatch(listed):
            return None
        box = tuple(float(number) for number in re.findall(_NUMBER, listed or points or marked))
        sizes = (4,) if points else (5,) if marked else (4, 5, 8)
        if len(box) not in sizes or not all(map(math.isfinite, box)):
            return None
        boxes.append(box)
    return boxes


def rewrite_boxes(text: str, write: Callable[[Numbers], str]) -> str:
    """A text with each of its boxes written anew; what is none stays."""

    def one(found: re.Match[str]) -> str:
        boxes = read_boxes(found[0])
        return write(boxes[0]) if boxes else found[0]

    return _BOX.sub(one, text)


def box_iou(a: Numbers, b: Numbers, *, frames: tuple[Frame, Frame]) -> float:
    """Intersection over union in [0, 1]; 0 for boxes without an area, reversed or folded.

    Args:
        frames: coordinate frame of either box.
    """
    if len(a) == len(b) == 4:
        first, second = (_upright(box, frame) for box, frame in zip((a, b), frames, strict=True))
        areas, shared = (area(first), area(second)), area(overlap(first, second))
    else:
        p, q = (_corners(box, frame) for box, frame in zip((a, b), frames, strict=True))
        if not (is_convex(p) and is_convex(q)):
            return 0.0
        areas, shared = (polygon_area(p), polygon_area(q)), convex_overlap(p, q)
    if min(areas) <= 0:
        return 0.0
    return min(1.0, shared / (areas[0] + areas[1] - shared))


def matched_worth(
    found: Sequence[Numbers], true: Sequence[Numbers], *, frames: tuple[Frame, Frame]
) -> float:
    """Sum of `STEPS` over the best matching, one to one; at most the smaller number of boxes.

    Args:
        frames: coordinate frames of the found boxes and of the true ones.
    """
    worth = np.zeros((len(found), len(true)))
    for i, j in np.ndindex(worth.shape):
        iou = box_iou(found[i], true[j], frames=frames)
        worth[i, j] = next((value for above, value in STEPS if iou > above + _ROUNDING), 0.0)
    return float(worth[linear_sum_assignment(worth, maximize=True)].sum())


def _upright(box: Numbers, frame: Frame) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = box[:4]
    return x0 * frame.x, y0 * frame.y, x1 * frame.x, y1 * frame.y


def _corners(box: Numbers, frame: Frame) -> Floats:
    """``(4, 2)`` corners; those of a reversed box are one point."""
    if len(box) == 8:
        return np.array(box).reshape(4, 2) * (frame.x, frame.y)
    x0, y0, x1, y1 = _upright(box, frame)
    if x1 <= x0 or y1 <= y0:
        return np.full((4, 2), x0)
    centre = np.array([x0 + x1, y0 + y1]) / 2
    corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]) - centre
    angle = math.radians(box[4]) if len(box) == 5 else 0.0
    cos, sin = math.cos(angle), math.sin(angle)
    return corners @ np.array([[cos, sin], [-sin, cos]]) + centre
