"""DOTA's text form of oriented boxes: one object a line, its four corners first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DOTA_CLASSES = (
    *("plane", "baseball-diamond", "bridge", "ground-track-field", "small-vehicle"),
    *("large-vehicle", "ship", "tennis-court", "basketball-court", "storage-tank"),
    *("soccer-ball-field", "roundabout", "harbor", "swimming-pool", "helicopter"),
)
_HEADERS = ("imagesource:", "gsd:")
_SMALLEST_AREA = 1e-3  # square pixels; below it corners lie on one line


@dataclass(frozen=True, eq=False)
class OrientedObjects:
    """The objects of one image.

    Attributes:
        corners: ``(N, 4, 2)`` float, x and y in pixels.
        categories: N names, without spaces.
        difficulties: ``(N,)`` int; 0 is easy, 1 difficult, 2 cut by the border of a tile.
    """

    corners: NDArray[np.float64]
    categories: tuple[str, ...]
    difficulties: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.categories)


def read_objects(path: Path, *, classes: Sequence[str] | None = None) -> OrientedObjects:
    """Read ``x1 y1 x2 y2 x3 y3 x4 y4 category difficulty`` a line.

    The lines ``imagesource:`` and ``gsd:`` are skipped; a missing difficulty is 0.

    Args:
        path: the file; an empty one is an image without objects.
        classes: the allowed categories; None for any.

    Raises:
        FileNotFoundError: no such file.
        ValueError: names the file and the line.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no labels {path}: an image without objects has an empty file")
    corners, categories, difficulties = [], [], []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        fields = line.split()
        if not fields or line.startswith(_HEADERS):
            continue
        name = f"{path}, line {number}"
        try:
            points = np.array(fields[:8], dtype=np.float64).reshape(4, 2)
            category, *difficulty = fields[8:]
            difficulties.append(int(*difficulty))
        except (TypeError, ValueError):
            raise ValueError(
                f"{name} is not eight coordinates, a category and a difficulty: {line[:80]!r}"
            ) from None
        if not np.isfinite(points).all():
            raise ValueError(f"{name} has coordinates that are not finite: correct or delete it")
        if classes is not None and category not in classes:
            raise ValueError(f"{name} has the category {category!r}; known are {(*classes,)}")
        if _is_degenerate(points):
            raise ValueError(f"{name} has its corners on one line: correct or delete it")
        corners.append(points)
        categories.append(category)
    return OrientedObjects(
        np.array(corners).reshape(-1, 4, 2),
        tuple(categories),
        np.array(difficulties, dtype=np.int64),
    )


def write_objects(path: Path, objects: OrientedObjects) -> None:
    """Write what `read_objects` reads, coordinates to a hundredth of a pixel."""
    lines = [
        " ".join([*(f"{v:.2f}" for v in points.ravel()), category, str(difficulty)])
        for points, category, difficulty in zip(
            objects.corners, objects.categories, objects.difficulties, strict=True
        )
    ]
    path.write_text("".join(f"{line}\n" for line in lines))


def box_corners(box: tuple[float, float, float, float, float]) -> NDArray[np.float64]:
    """``(4, 2)`` corners of a box x, y, width, height, angle (clockwise on the screen)."""
    x, y, width, height, angle = box
    along = np.array([np.cos(angle), np.sin(angle)]) * width / 2
    across = np.array([-np.sin(angle), np.cos(angle)]) * height / 2
    signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    return np.array([x, y]) + np.array([a * along + b * across for a, b in signs])


def _is_degenerate(corners: NDArray[np.float64]) -> bool:
    """Whether no three of four corners span a triangle."""
    a, b, c = corners[1:] - corners[0]
    twice = [u[0] * v[1] - u[1] * v[0] for u, v in ((a, b), (a, c), (b, c))]
    return max(map(abs, twice)) / 2 < _SMALLEST_AREA
