"""Boxes as text: how a model is taught to write them, and what it wrote."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from cmid.boxes import (
    Floats,
    around,
    box_corners,
    clip_to_image,
    oriented_box,
    polygon_area,
)
from cmid.vision_language.scoring.box_answers import read_boxes, rewrite_boxes

Shape = Literal["upright", "oriented", "polygon"]


@dataclass(frozen=True)
class BoxForm:
    """A way to write boxes in the square that the model sees.

    Attributes:
        cells: per side of the image: 1 writes fractions, as published; 100 or 1000 whole numbers.
        digits: of fractions.
        shape: ``upright`` ``[x0,y0,x1,y1]``, ``oriented`` ``{<x0><y0><x1><y1>|<degrees>}``, a box
            that is then turned clockwise around its centre in the square (of a turned box of an
            image that is not square, the smallest one around what becomes of it there), or
            ``polygon`` ``[x0,y0,...,x3,y3]``.
        tag: around a box: ``bbox`` is Nova's ``<bbox>...</bbox>``.
    """

    cells: int = 1
    digits: int = 2
    shape: Shape = "upright"
    tag: str = ""

    def write(self, corners: Floats) -> str:
        """Write a box.

        Args:
            corners: ``(4, 2)``, x and y in fractions of the image, or ``(2, 2)`` of an upright box.
        """
        if self.shape == "polygon":
            if len(corners) == 2:
                corners = upright_corners(around(corners))
            text = f"[{','.join(self._number(value) for value in corners.flatten())}]"
        elif self.shape == "upright":
            text = f"[{','.join(self._number(value) for value in around(corners))}]"
        else:
            text = self._oriented(corners)
        return f"<{self.tag}>{text}</{self.tag}>" if self.tag else text

    def parse(self, text: str) -> list[Floats] | None:
        """The boxes of an answer, whatever shape each is written in.

        Returns:
            ``(4, 2)`` corners in fractions of the image; none is an empty list. None where brackets
            hold something else: the answer cannot be read.
        """
        found = read_boxes(text)
        return None if found is None else [_answered(numbers) / self.cells for numbers in found]

    def moved(self, text: str, move: Callable[[Floats], Floats]) -> str:
        """A text whose boxes are moved, each in the shape in which it is written.

        Args:
            move: of corners in fractions of the image; what leaves the image is cut off.
        """
        shapes: dict[int, Shape] = {4: "upright", 5: "oriented", 8: "polygon"}

        def write(numbers: tuple[float, ...]) -> str:
            form = replace(self, shape=shapes[len(numbers)], tag="")
            return form.write(move(_corners(numbers) / self.cells).clip(0, 1))

        return rewrite_boxes(text, write)

    def outside(self, text: str) -> str | None:
        """The first box of a text that cannot be one of this form, as it may be on another grid.

        Corners of upright boxes lie in the image; turned ones and polygons may stick out by half of
        it. None where all boxes can.
        """
        found: list[str] = []

        def look(numbers: tuple[float, ...]) -> str:
            room = 0.01 if len(numbers) == 4 else 0.5
            values = np.array(numbers[:4] if len(numbers) == 5 else numbers) / self.cells
            if values.min() < -room or values.max() > 1 + room:
                found.append(f"[{','.join(f'{number:g}' for number in numbers)}]")
            return ""

        rewrite_boxes(text, look)
        return found[0] if found else None

    @property
    def words(self) -> str:
        """The form in words, for models that were not taught it."""
        grid = (
            "fractions of width and height"
            if self.cells == 1
            else f"whole numbers from 0 to {self.cells}"
        )
        if self.shape == "upright":
            return f"[x0,y0,x1,y1] in {grid}"
        if self.shape == "polygon":
            return f"[x0,y0,x1,y1,x2,y2,x3,y3] of its four corners in {grid}"
        return (
            f"{{<x0><y0><x1><y1>|<degrees>}} in {grid}, turned clockwise around its centre by so"
            " many degrees"
        )

    def left(self, text: str, move: Callable[[Floats], Floats]) -> float:
        """Share of a text's boxes, of the one that loses most, that `moved` leaves in the image.

        Returns:
            In [0, 1]: 0 also where a box would be written without an area; 1 without boxes.
        """
        shares = [1.0]

        def measure(numbers: tuple[float, ...]) -> str:
            whole = move(_corners(numbers) / self.cells)
            inside = clip_to_image(whole, 1.0)
            shares.append(0.0)
            if polygon_area(inside) > 0:
                written = self.parse(replace(self, shape="upright").write(inside))
                if written and polygon_area(written[0]) > 0:
                    shares[-1] = polygon_area(inside) / polygon_area(whole)
            return ""

        rewrite_boxes(text, measure)
        return min(shares)

    def _number(self, value: float) -> str:
        if self.cells == 1:
            return f"{round(value, self.digits) + 0.0:.{self.digits}f}"  # no -0.00
        return str(round(value * self.cells))

    def _oriented(self, corners: Floats) -> str:
        sides, angle = around(corners), 0.0
        if len(corners) > 2 and min(np.ptp(corners, axis=0)) > 0:
            x, y, width, height, angle = oriented_box(corners)
            sides = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        numbers = "".join(f"<{self._number(value)}>" for value in sides)
        return f"{{{numbers}|<{round(math.degrees(angle))}>}}"


def upright_corners(box: Sequence[float]) -> Floats:
    """``(4, 2)`` corners of an upright box ``x0, y0, x1, y1``."""
    x0, y0, x1, y1 = box
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def _answered(numbers: tuple[float, ...]) -> Floats:
    """Corners; those of a reversed box are one point, which has no area."""
    x0, y0, x1, y1 = numbers[:4]
    if len(numbers) < 8 and (x1 < x0 or y1 < y0):
        return np.full((4, 2), (x0, y0))
    return _corners(numbers)


def _corners(numbers: tuple[float, ...]) -> Floats:
    if len(numbers) == 8:
        return np.array(numbers).reshape(4, 2)
    x0, y0, x1, y1 = numbers[:4]
    if len(numbers) == 4:
        return upright_corners((x0, y0, x1, y1))
    centre = ((x0 + x1) / 2, (y0 + y1) / 2)
    return box_corners((*centre, x1 - x0, y1 - y0, math.radians(numbers[4])))
