"""Drawing of a generated scene: shapes of a material, the camera, and the map of materials.

A layout (`land`, `built`) sketches a scene in *scene units*: the scene is about one unit wide, its
centre is the origin, and things are sketched a little past the border, since the camera (`View`)
turns, zooms and shifts them. So one sketch gives the same scene at any pixel size, and both dates.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw

Point = tuple[float, float]

FIRST, SECOND, BOTH = 1, 2, 3
REACH = 0.95  # layouts are drawn to +-REACH: the farthest corner any camera sees
SUPERSAMPLING = 2  # drawn at twice the size, averaged after colouring: objects get soft edges
NEUTRAL = 32  # tone of a surface that is neither darker nor brighter than its material
ROW_ANGLES = 24  # directions that crop rows can take


class Material(IntEnum):
    """What a pixel is made of; finer than the semantic classes, since it decides the colour."""

    GRASS = 0
    CROP = 1
    STUBBLE = 2
    SOIL = 3
    TREE = 4
    WATER = 5
    ASPHALT = 6
    CONCRETE = 7
    TILES = 8
    FLAT_ROOF = 9
    METAL_ROOF = 10
    SAND = 11
    HULL = 12
    DECK = 13
    TANK = 14
    PLANE = 15
    CAR = 16
    SHRUB = 17
    FOAM = 18
    PAINT = 19
    ROCK = 20


class Shape(NamedTuple):
    """A filled polygon in scene units.

    ``tone`` is 0-63 (brightness, 32 is neutral), ``rows`` 0 for none or the direction of crop rows,
    ``height`` the length of its shadow, ``dates`` the bit set of dates it exists at. A shape with a
    ``category`` is the outline of one instance.
    """

    points: Sequence[Point]
    material: int
    tone: int = NEUTRAL
    rows: int = 0
    height: float = 0.0
    category: str = ""
    dates: int = BOTH


@dataclass(frozen=True)
class View:
    """The camera: scene units to pixels of a ``size`` x ``size`` image."""

    size: int
    angle: float
    zoom: float
    shift: Point

    def to_pixels(self, points: Iterable[Point]) -> NDArray[np.float64]:
        """``(K, 2)`` pixel coordinates x, y; pixel ``i`` covers ``[i, i + 1)``."""
        scene = np.array(list(points), dtype=np.float64).reshape(-1, 2)
        cos, sin = math.cos(self.angle) * self.zoom, math.sin(self.angle) * self.zoom
        x = scene[:, 0] * cos - scene[:, 1] * sin + self.shift[0] + 0.5
        y = scene[:, 0] * sin + scene[:, 1] * cos + self.shift[1] + 0.5
        return np.stack([x, y], axis=1) * self.size

    def sees(self, point: Point, margin: float) -> bool:
        """Whether a thing of radius ``margin`` (scene units) at ``point`` may be in the image."""
        cos, sin = math.cos(self.angle) * self.zoom, math.sin(self.angle) * self.zoom
        x = point[0] * cos - point[1] * sin + self.shift[0]
        y = point[0] * sin + point[1] * cos + self.shift[1]
        return max(abs(x), abs(y)) < 0.5 + margin * self.zoom


@dataclass(frozen=True)
class MaterialMap:
    """A drawn date, ``(S, S)`` arrays at `SUPERSAMPLING` times the size of the image."""

    material: NDArray[np.uint8]
    tone: NDArray[np.uint8]
    rows: NDArray[np.uint8]
    shadow: NDArray[np.bool_]


def draw(shapes: Sequence[Shape], view: View, *, date: int, sun: Point) -> MaterialMap:
    """Paint the shapes of one date in order; ``sun`` is the shadow per unit of height (pixels of
    an image one pixel wide, so that it scales with the image)."""
    shapes = [shape for shape in shapes if shape.dates & date]
    side = view.size * SUPERSAMPLING
    # Pillow puts a vertex at the centre of its pixel.
    pixels = view.to_pixels(point for shape in shapes for point in shape.points)
    flat: list[float] = (pixels * SUPERSAMPLING - 0.5).ravel().tolist()
    codes = PillowImage.new("I", (side, side))
    shadows = PillowImage.new("L", (side, side))
    paint, shade = ImageDraw.Draw(codes), ImageDraw.Draw(shadows)
    start = 0
    for shape in shapes:
        outline = flat[start : start + 2 * len(shape.points)]
        start += len(outline)
        paint.polygon(outline, fill=int(shape.material) | shape.tone << 5 | shape.rows << 11)
        if shape.height:
            dx, dy = (component * shape.height * side for component in sun)
            for part in (0.5, 1.0):  # two steps of the sweep are enough for small heights
                moved = [v + part * (dy if k & 1 else dx) for k, v in enumerate(outline)]
                shade.polygon(moved, fill=1)
            shade.polygon(outline, fill=0)
    code = np.asarray(codes)
    return MaterialMap(
        material=(code & 31).astype(np.uint8),
        tone=(code >> 5 & 63).astype(np.uint8),
        rows=(code >> 11).astype(np.uint8),
        shadow=np.asarray(shadows).astype(bool),
    )
