"""Two dates of one area, read as one scene."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmid.data.windows import Window
from cmid.inference.scenes import Area, Scene, filled
from cmid.inference.warping import WarpedScene


class ScenePair:
    """The bands of a second scene behind those of a first one; missing where either is.

    Raises:
        ValueError: they lie on different grids, or hold values of different kinds; names both, and
            what differs.
    """

    def __init__(self, first: Scene, second: Scene | WarpedScene) -> None:
        found = _differences(first.area, second.area)
        if found:
            raise ValueError(
                f"{first.name} and {second.name} lie on different grids: {'; '.join(found)};"
                " --warp resamples the second one to the grid of the first"
            )
        if first.kind.differs(second.kind):
            raise ValueError(
                f"{first.name} is {first.kind}, {second.name} is {second.kind}: the dates of a pair"
                " must agree"
            )
        self.dates = first, second
        self.name, self.area, self.kind = first.name, first.area, first.kind
        self.bands = first.bands + second.bands
        self.files = [*first.files, *second.files]

    def read(
        self, window: Window, fill: Sequence[float] | float = 0
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """As `Scene.read`, both dates' bands."""
        values, missing = zip(*(date.read(window) for date in self.dates), strict=True)
        return filled(np.concatenate(values), missing[0] | missing[1], fill)


def _differences(first: Area, second: Area) -> list[str]:
    """How the grids of two areas differ, a text for each reason."""
    told = []
    if first.crs != second.crs:
        told.append(f"reference systems {first.crs} and {second.crs}")
    if not (~first.transform * second.transform).almost_equals(
        first.transform.identity(), precision=1e-3
    ):
        a, b = (
            tuple(round(number, 9) for number in t[:6]) for t in (first.transform, second.transform)
        )
        told.append(f"transforms {a} and {b}")
    sizes = [f"{area.width} x {area.height}" for area in (first, second)]
    if sizes[0] != sizes[1]:
        told.append(f"{' and '.join(sizes)} pixels")
    return told
