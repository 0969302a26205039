"""Geometry of boxes and polygons in an image: areas, overlaps, cuts at the border, enclosing boxes.

Coordinates are x and y in pixels from the upper left corner; pixel ``i`` covers ``[i, i + 1)``.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import clip_boxes_to_image

Box = tuple[float, float, float, float]
"""An upright box: x0, y0, x1, y1."""
OrientedBox = tuple[float, float, float, float, float]
"""Centre x, y, width, height, and angle in radians (clockwise on the screen)."""
Floats = NDArray[np.float64]


def area(box: Box) -> float:
    """Area of an upright box; 0 for a reversed one, which `overlap` gives of boxes apart."""
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def overlap(a: Box, b: Box) -> Box:
    """What two upright boxes share; reversed where they do not meet."""
    return max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])


def around(points: Floats) -> Box:
    """The smallest upright box around ``(K, 2)`` points."""
    x0, y0 = points.min(axis=0).tolist()
    x1, y1 = points.max(axis=0).tolist()
    return x0, y0, x1, y1


def clip_boxes(boxes: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """``(R, 4)`` boxes cut at the borders of the image, and ``(R,)`` which have an area left."""
    clipped = clip_boxes_to_image(boxes.float(), (height, width))
    return clipped, (clipped[:, 2:] > clipped[:, :2]).all(dim=1)


def clip_to_image(polygon: Floats, size: float) -> Floats:
    """Cut a ``(K, 2)`` polygon at the four borders in turn."""
    if len(polygon) and polygon.min() >= 0 and polygon.max() <= size:
        return polygon
    for x, y, start in ((1, 0, 0.0), (-1, 0, -size), (0, 1, 0.0), (0, -1, -size)):
        polygon = _cut(polygon, np.array([x, y], dtype=float), start)
    return polygon.clip(0, size)  # rounding of the cuts


def convex_overlap(a: Floats, b: Floats) -> float:
    """Area that two convex polygons of ``(K, 2)`` corners share, each in either direction."""
    x, y = b.T
    if x @ np.roll(y, -1) < y @ np.roll(x, -1):
        b = b[::-1]
    for start, edge in zip(b, np.roll(b, -1, axis=0) - b, strict=True):
        inward = np.array([-edge[1], edge[0]])
        # Distances from a corner of the edge: products of large coordinates would cancel.
        a = _cut(a - start, inward, 0.0) + start
    return polygon_area(a)


def is_convex(polygon: Floats) -> bool:
    """Whether a ``(K, 2)`` polygon has an area, no edge that crosses another, and no dent."""
    edge = np.roll(polygon, -1, axis=0) - polygon
    after = np.roll(edge, -1, axis=0)
    turn = edge[:, 0] * after[:, 1] - edge[:, 1] * after[:, 0]
    once = abs(np.arctan2(turn, (edge * after).sum(axis=1)).sum()) < 3 * math.pi  # no star
    return once and polygon_area(polygon) > 0 and bool((turn >= 0).all() or (turn <= 0).all())


def _cut(polygon: Floats, normal: Floats, start: float) -> Floats:
    """The part where ``polygon @ normal >= start`` (Sutherland and Hodgman, 1974)."""
    distance = polygon @ normal - start
    kept: list[Floats] = []
    for k in range(len(polygon)):
        before, here = distance[k - 1], distance[k]
        if (before >= 0) != (here >= 0):
            share = before / (before - here)
            kept.append(polygon[k - 1] + share * (polygon[k] - polygon[k - 1]))
        if here >= 0:
            kept.append(polygon[k])
    return np.array(kept).reshape(-1, 2)


def polygon_area(polygon: Floats) -> float:
    """Area of a ``(K, 2)`` polygon."""
    if len(polygon) < 3:
        return 0.0
    x, y = polygon.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def oriented_box(polygon: Floats) -> OrientedBox:
    """Smallest enclosing box, angle "le90": one of its sides lies along an edge of the hull.

    Edges that are not on the hull are tried as well: they cannot give a smaller box.
    """
    edges = polygon - np.roll(polygon, 1, axis=0)
    # A hull edge may join corners that are no neighbours (the wing tips of a plane).
    if len(polygon) <= 24:
        edges = (polygon[:, None] - polygon[None]).reshape(-1, 2)
    edges = edges[np.abs(edges).sum(axis=1) > 1e-6]
    angles = np.unique(np.round(np.arctan2(edges[:, 1], edges[:, 0]) % (math.pi / 2), 9))
    along = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    u, v = polygon @ along.T, polygon @ across.T  # (K, number of angles)
    ends_u, ends_v = (u.min(axis=0), u.max(axis=0)), (v.min(axis=0), v.max(axis=0))
    best = int(np.argmin((ends_u[1] - ends_u[0]) * (ends_v[1] - ends_v[0])))
    (u0, u1), (v0, v1) = ((low[best], high[best]) for low, high in (ends_u, ends_v))
    centre = along[best] * (u1 + u0) / 2 + across[best] * (v1 + v0) / 2
    width, height, angle = float(u1 - u0), float(v1 - v0), angles[best]
    if width < height:
        width, height, angle = height, width, angle + math.pi / 2
    angle = (angle + math.pi / 2) % math.pi - math.pi / 2
    return float(centre[0]), float(centre[1]), width, height, float(angle)


def box_corners(box: OrientedBox) -> Floats:
    """``(4, 2)`` corners of an oriented box."""
    x, y, width, height, angle = box
    along = np.array([np.cos(angle), np.sin(angle)]) * width / 2
    across = np.array([-np.sin(angle), np.cos(angle)]) * height / 2
    signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    return np.array([x, y]) + np.array([a * along + b * across for a, b in signs])
