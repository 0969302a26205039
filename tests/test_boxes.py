"""Geometry of boxes and polygons."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmid.boxes import box_corners, convex_overlap, is_convex, polygon_area

sides = st.floats(1, 50)
places = st.floats(-30, 30)
angles = st.floats(-math.pi, math.pi)
turned_boxes = st.tuples(places, places, sides, sides, angles)


def test_convex_polygons_share_what_they_share() -> None:
    square = np.array([[0, 0], [10, 0], [10, 10], [0, 10]], dtype=float)
    for other in (square, square[::-1], np.roll(square, 1, axis=0)):
        assert convex_overlap(square, other + 5) == pytest.approx(25)
        assert convex_overlap(other, square) == pytest.approx(100)
        assert convex_overlap(square, other + np.array([10, 0])) == 0
        assert convex_overlap(square, other + 100) == 0
    triangle = np.array([[0, 0], [10, 0], [0, 10]], dtype=float)
    assert convex_overlap(square, triangle) == pytest.approx(50)


@given(turned_boxes, turned_boxes)
@settings(max_examples=30, deadline=None)
def test_overlap_is_that_of_points_drawn_inside(
    a: tuple[float, float, float, float, float], b: tuple[float, float, float, float, float]
) -> None:
    first, second = box_corners(a), box_corners(b)
    shared = convex_overlap(first, second)
    assert shared == pytest.approx(convex_overlap(second, first), abs=1e-6)
    cells = (np.indices((100, 100)).reshape(2, -1).T + 0.5) / 100  # (10000, 2)
    points = first[0] + cells @ np.array([first[1] - first[0], first[3] - first[0]])
    x, y, width, height, angle = b
    along = (points - (x, y)) @ (math.cos(angle), math.sin(angle))
    across = (points - (x, y)) @ (-math.sin(angle), math.cos(angle))
    inside = (np.abs(along) < width / 2) & (np.abs(across) < height / 2)
    assert shared / polygon_area(first) == pytest.approx(inside.mean(), abs=0.03)


def test_folded_dented_and_flat_polygons_are_not_convex() -> None:
    square = np.array([[0, 0], [10, 0], [10, 10], [0, 10]], dtype=float)
    assert is_convex(square)
    assert is_convex(square[::-1])
    assert not is_convex(square[[0, 2, 1, 3]])
    assert not is_convex(np.array([[0, 0], [10, 0], [2, 2], [0, 10]], dtype=float))
    assert not is_convex(np.array([[0, 0], [5, 0], [10, 0], [2, 0]], dtype=float))
    star = np.array([[math.cos(t), math.sin(t)] for t in np.arange(5) * 4 * math.pi / 5])
    assert not is_convex(star)
