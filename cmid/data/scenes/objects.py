"""Objects of a generated scene: outlines, houses, trees, ships, planes, tanks, cars and roads."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from cmid.data.scenes.drawing import (
    BOTH,
    FIRST,
    NEUTRAL,
    REACH,
    ROW_ANGLES,
    SECOND,
    Material,
    Point,
    Shape,
    View,
)

ROOFS = (Material.TILES, Material.FLAT_ROOF, Material.METAL_ROOF)


def rectangle(x: float, y: float, width: float, height: float, angle: float = 0.0) -> list[Point]:
    """Corners of a rectangle centred at ``x, y``; ``width`` runs along ``angle``."""
    ux, uy = math.cos(angle) * width / 2, math.sin(angle) * width / 2
    vx, vy = -math.sin(angle) * height / 2, math.cos(angle) * height / 2
    return [
        (x - ux - vx, y - uy - vy),
        (x + ux - vx, y + uy - vy),
        (x + ux + vx, y + uy + vy),
        (x - ux + vx, y - uy + vy),
    ]


def disc(x: float, y: float, radius: float, corners: int = 20) -> list[Point]:
    """A regular polygon."""
    turns = (2 * math.pi * k / corners for k in range(corners))
    return [(x + radius * math.cos(turn), y + radius * math.sin(turn)) for turn in turns]


def ribbon(line: Sequence[Point], width: float | Sequence[float]) -> list[Point]:
    """Outline of a road or river of the given width along a line."""
    widths = [width] * len(line) if isinstance(width, float) else list(width)
    left, right = [], []
    for k, (x, y) in enumerate(line):
        (x0, y0), (x1, y1) = line[max(k - 1, 0)], line[min(k + 1, len(line) - 1)]
        length = math.hypot(x1 - x0, y1 - y0) or 1.0
        nx, ny = -(y1 - y0) / length * widths[k] / 2, (x1 - x0) / length * widths[k] / 2
        left.append((x + nx, y + ny))
        right.append((x - nx, y - ny))
    return left + right[::-1]


def placed(outline: Sequence[Point], x: float, y: float, scale: float, angle: float) -> list[Point]:
    """An outline given around the origin, scaled, turned and moved to ``x, y``."""
    cos, sin = math.cos(angle) * scale, math.sin(angle) * scale
    return [(x + u * cos - v * sin, y + u * sin + v * cos) for u, v in outline]


_HALF_PLANE = (
    *((0.5, 0.0), (0.42, 0.055), (0.13, 0.065), (-0.13, 0.46), (-0.24, 0.46), (-0.08, 0.065)),
    *((-0.36, 0.05), (-0.46, 0.2), (-0.53, 0.2), (-0.48, 0.0)),
)
_PLANE = (*_HALF_PLANE, *((x, -y) for x, y in reversed(_HALF_PLANE[1:-1])))


@dataclass
class Sketch:
    """A scene being laid out: its random numbers, its camera and its shapes in drawing order."""

    rng: random.Random
    view: View
    shapes: list[Shape] = field(default_factory=list)

    def fill(
        self, points: Sequence[Point], material: int, *, tone: int = NEUTRAL, **more: Any
    ) -> None:
        """Add one shape; ``more`` are the other fields of `Shape`."""
        self.shapes.append(Shape(points, material, tone, **more))

    def ground(self, *materials: Material) -> Material:
        """Cover everything with one of the materials."""
        material = self.rng.choice(materials)
        self.fill(rectangle(0, 0, 4, 4), material)
        return material

    def tone(self, spread: int) -> int:
        """A brightness around neutral."""
        return NEUTRAL + self.rng.randint(-spread, spread)

    def occupancy(self, present: float = 0.8, turnover: float = 0.25) -> int:
        """Dates at which an object stands on its site: 0 (never), `FIRST`, `SECOND` or `BOTH`."""
        if self.rng.random() > present:
            return 0
        luck = self.rng.random()
        return FIRST if luck < turnover / 2 else SECOND if luck < turnover else BOTH

    def blob(self, x: float, y: float, radius: float, *, corners: int = 24) -> list[Point]:
        """A rounded irregular outline: lakes, clearings, groves."""
        waves = [(k, self.rng.uniform(0, 6.28), self.rng.uniform(0, 0.5 / k)) for k in (2, 3, 5)]
        turns = [2 * math.pi * k / corners for k in range(corners)]
        radii = [radius * (1 + sum(a * math.sin(n * t + p) for n, p, a in waves)) for t in turns]
        return [
            (x + r * math.cos(t), y + r * math.sin(t)) for r, t in zip(radii, turns, strict=True)
        ]

    def winding(self, offset: float, swing: float, *, steps: int = 25) -> list[Point]:
        """A line from the left of the scene to the right that swings about ``y = offset``."""
        waves = [
            (self.rng.uniform(1.5, 3) * k, self.rng.uniform(0, 6.28), swing / k) for k in (1, 2, 4)
        ]
        xs = [REACH * (2 * k / (steps - 1) - 1) for k in range(steps)]
        return [(x, offset + sum(a * math.sin(n * x + p) for n, p, a in waves)) for x in xs]

    def building(
        self, x: float, y: float, size: Point, angle: float, dates: int, *, height: float = 0.0
    ) -> None:
        """A house with a ridged or flat roof; sites out of sight and never built are skipped."""
        if not dates or not self.view.sees((x, y), max(size)):
            return
        rng = self.rng
        roof, tone = rng.choice(ROOFS), self.tone(11)
        rise = height or rng.uniform(0.25, 0.5) * min(size)
        outline = rectangle(x, y, *size, angle)
        self.fill(outline, roof, tone=tone, height=rise, category="building", dates=dates)
        if roof != Material.FLAT_ROOF or rng.random() < 0.3:  # the other slope of the roof
            shift = size[1] / 4
            slope = rectangle(
                x - math.sin(angle) * shift, y + math.cos(angle) * shift, size[0], 2 * shift, angle
            )
            self.fill(slope, roof, tone=max(0, tone - rng.choice((9, -8))), dates=dates)

    def tree(self, x: float, y: float, radius: float) -> None:
        """A single crown with its shadow."""
        if self.view.sees((x, y), radius):
            crown = disc(x, y, radius, corners=7)
            self.fill(crown, Material.TREE, tone=self.tone(10), height=radius)

    def ship(self, x: float, y: float, length: float, angle: float, dates: int) -> None:
        """A hull with a pointed bow, a deck and a bridge."""
        if not dates or not self.view.sees((x, y), length):
            return
        beam = self.rng.uniform(0.24, 0.34) / 2
        hull = [(0.5, 0.0), (0.3, beam), (-0.5, beam), (-0.5, -beam), (0.3, -beam)]
        outline = placed(hull, x, y, length, angle)
        tone = self.tone(14)
        self.fill(outline, Material.HULL, tone=tone, height=0.012, category="ship", dates=dates)
        deck = [(u * 0.72 - 0.02, v * 0.6) for u, v in hull]
        outline = placed(deck, x, y, length, angle)
        self.fill(outline, Material.DECK, tone=self.tone(20), dates=dates)
        bridge = [(u * 0.2 - 0.3, v * 0.9) for u, v in hull[1:]]
        self.fill(placed(bridge, x, y, length, angle), Material.HULL, tone=52, dates=dates)

    def plane(self, x: float, y: float, length: float, angle: float, dates: int) -> None:
        """Fuselage, swept wings and tail in one outline."""
        if dates and self.view.sees((x, y), length):
            outline, tone = placed(_PLANE, x, y, length, angle), self.tone(8)
            self.fill(
                outline, Material.PLANE, tone=tone, height=0.02, category="plane", dates=dates
            )

    def tank(self, x: float, y: float, radius: float, dates: int) -> None:
        """A cylinder seen from above: rim, and a roof that may lie lower and in the shade."""
        if not dates or not self.view.sees((x, y), radius):
            return
        tone, rise = self.tone(9), self.rng.uniform(0.4, 0.9) * radius
        outline = disc(x, y, radius)
        self.fill(
            outline, Material.TANK, tone=tone, height=rise, category="storage tank", dates=dates
        )
        inner = self.rng.choice((-14, -6, 6))
        self.fill(disc(x, y, radius * 0.75), Material.TANK, tone=tone + inner, dates=dates)

    def car(self, x: float, y: float, length: float, angle: float, dates: int) -> None:
        """A car, or a lorry if it is long."""
        if dates and self.view.sees((x, y), length):
            outline, tone = rectangle(x, y, length, length * 0.5, angle), self.tone(31)
            rise = length * 0.2
            self.fill(
                outline, Material.CAR, tone=tone, height=rise, category="vehicle", dates=dates
            )

    def road(self, line: Sequence[Point], width: float, *, marked: bool, **more: Any) -> None:
        """A paved ribbon, with a dashed centre line if it is marked."""
        self.fill(ribbon(line, width), more.pop("material", Material.ASPHALT), **more)
        if marked:
            self.dashes(line, width * 0.07, dates=more.get("dates", BOTH))

    def dashes(self, line: Sequence[Point], width: float, *, dates: int = BOTH) -> None:
        """A dashed painted line."""
        for (x0, y0), (x1, y1) in pairwise(line):
            length, angle = math.hypot(x1 - x0, y1 - y0), math.atan2(y1 - y0, x1 - x0)
            count = max(1, round(length / 0.09))
            for k in range(count):
                t = (k + 0.5) / count
                x, y = x0 + t * (x1 - x0), y0 + t * (y1 - y0)
                if self.view.sees((x, y), 0.05):
                    dash = rectangle(x, y, length / count * 0.55, width, angle)
                    self.fill(dash, Material.PAINT, dates=dates)


def rows_along(angle: float) -> int:
    """Code of crop rows that run along ``angle`` in scene units, for `Shape.rows`."""
    return 1 + round((angle % math.pi) / math.pi * ROW_ANGLES) % ROW_ANGLES


def anywhere(rng: random.Random, reach: float = 0.6) -> Point:
    """A random place within ``reach`` of the centre."""
    return rng.uniform(-reach, reach), rng.uniform(-reach, reach)
