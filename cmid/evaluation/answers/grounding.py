"""Boxes that an answer names against the true ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from cmid.boxes import Floats, convex_overlap, is_convex, polygon_area


def shared_area(a: Floats, b: Floats) -> tuple[float, float]:
    """Intersection and union of two convex polygons; one without an area shares nothing.

    Nothing is added to sides: on boxes in fractions, a pixel more would make any two overlap.

    Args:
        a, b: ``(K, 2)`` corners, upright boxes or turned ones, in fractions of the image.
    """
    both = is_convex(a) and is_convex(b)
    shared = convex_overlap(a, b) if both else 0.0
    return shared, sum(polygon_area(each) for each in (a, b) if is_convex(each)) - shared


def box_iou(a: Floats, b: Floats) -> float:
    """Intersection over union, in [0, 1], see `shared_area`; 0 for boxes without an area."""
    shared, either = shared_area(a, b)
    return min(1.0, shared / either) if shared else 0.0


def matched_iou(found: Sequence[Floats], true: Sequence[Floats]) -> list[float]:
    """Overlaps of the best one-to-one matching, in whatever order boxes are written.

    Returns:
        One number per matched pair: as many as the smaller number of boxes.
    """
    overlaps = np.array([[box_iou(a, b) for b in true] for a in found]).reshape(len(found), -1)
    return overlaps[linear_sum_assignment(overlaps, maximize=True)].tolist()
