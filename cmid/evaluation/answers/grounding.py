"""Boxes that an answer names against the true ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from cmid.boxes import Floats, convex_overlap, is_convex, polygon_area


def box_iou(a: Floats, b: Floats) -> float:
    """Intersection over union of two convex polygons in [0, 1]; 0 for one without an area.

    Nothing is added to sides: on boxes in fractions, a pixel more would make any two overlap.

    Args:
        a, b: ``(K, 2)`` corners, upright boxes or turned ones, in fractions of the image.
    """
    if not (is_convex(a) and is_convex(b)):
        return 0.0
    shared = convex_overlap(a, b)
    return min(1.0, shared / (polygon_area(a) + polygon_area(b) - shared))


def matched_iou(found: Sequence[Floats], true: Sequence[Floats]) -> list[float]:
    """Overlaps of the best one-to-one matching, in whatever order boxes are written.

    Returns:
        One number per matched pair: as many as the smaller number of boxes.
    """
    overlaps = np.array([[box_iou(a, b) for b in true] for a in found]).reshape(len(found), -1)
    return overlaps[linear_sum_assignment(overlaps, maximize=True)].tolist()
