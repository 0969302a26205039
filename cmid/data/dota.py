"""DOTA's text form of oriented boxes: one object a line, its four corners first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cmid.data.text_files import text_lines

DOTA_CLASSES = (
    *("plane", "baseball-diamond", "bridge", "ground-track-field", "small-vehicle"),
    *("large-vehicle", "ship", "tennis-court", "basketball-court", "storage-tank"),
    *("soccer-ball-field", "roundabout", "harbor", "swimming-pool", "helicopter"),
)
# Lines about the image: imagesource, gsd, acquisition dates, in any case and spelling.
_HEADER = re.compile(r"[^\W\d][\w \t.-]*[:=\uff1a]|(imagesource|gsd|acquisition\s*dates?)\b", re.I)
_NUMBER = re.compile(r"[+-]?\d+(\.0*)?")
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

    def beside(self, height: int, width: int) -> NDArray[np.bool_]:
        """``(N,)``: which objects have no part in an image of this size."""
        low, high = self.corners.min(axis=1), self.corners.max(axis=1)
        return ((high <= 0) | (low >= (width, height))).any(axis=1)

    def choose(self, kept: NDArray[np.bool_]) -> OrientedObjects:
        """Those that are marked, ``(N,)``."""
        names = tuple(name for name, keep in zip(self.categories, kept, strict=True) if keep)
        return OrientedObjects(self.corners[kept], names, self.difficulties[kept])


def read_objects(path: Path, *, classes: Sequence[str] | None = None) -> OrientedObjects:
    """Read ``x1 y1 x2 y2 x3 y3 x4 y4 category difficulty`` a line.

    Fields are divided by white space or commas; a missing difficulty is 0. Lines that begin with a
    word and a colon (``imagesource:``, ``gsd:``, ``acquisition dates:``, in any case) are about
    the image and skipped. Categories are found whatever their case, and with spaces or underscores
    in place of hyphens (``Small Vehicle``), where ``classes`` has them.

    Args:
        path: the file, UTF-8; an empty one is an image without objects.
        classes: the allowed categories; None for any.

    Raises:
        FileNotFoundError: no such file.
        ValueError: names the file and the line.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no labels {path}: an image without objects has an empty file")
    corners, categories, difficulties = [], [], []
    for number, line in enumerate(text_lines(path), start=1):
        fields = line.replace(",", " ").split()
        if not fields or _HEADER.match(line.strip()):
            continue
        name = f"{path}, line {number}"
        try:
            points = np.array(fields[:8], dtype=np.float64).reshape(4, 2)
            category, difficulty = _category(fields[8:], classes)
        except ValueError:
            raise ValueError(
                f"{name} is not eight coordinates, a category and a difficulty:"
                f" {line.strip()[:80]!r}"
            ) from None
        if not np.isfinite(points).all():
            raise ValueError(f"{name} has coordinates that are not finite: correct or delete it")
        if classes is not None and category not in classes:
            raise ValueError(f"{name} has the category {category!r}; known are {(*classes,)}")
        if points.min() >= 0 and points.max() <= 1:
            raise ValueError(
                f"{name} lies within one pixel: coordinates are pixels, not shares of the image"
            )
        if difficulty < 0:
            raise ValueError(f"{name} has the difficulty {difficulty}: 0 is the easiest")
        if _is_degenerate(points):
            raise ValueError(f"{name} has its corners on one line: correct or delete it")
        corners.append(points)
        categories.append(category)
        difficulties.append(difficulty)
    return OrientedObjects(
        np.array(corners).reshape(-1, 4, 2),
        tuple(categories),
        np.array(difficulties, dtype=np.int64),
    )


def _category(fields: Sequence[str], classes: Sequence[str] | None) -> tuple[str, int]:
    """Category and difficulty of the fields behind the corners; ValueError for anything else."""
    *words, last = fields
    difficulty = int(float(last)) if words and _NUMBER.fullmatch(last) else None
    if difficulty is None:
        words = [*fields]
    category = "-".join(words)
    if classes is not None and category not in classes:
        category = {_letters(name): name for name in classes}.get(_letters(category), category)
    known = difficulty is not None if classes is None else category in classes
    if len(words) > 1 and not known:
        raise ValueError("several words, and no category")
    return category, difficulty or 0


def _letters(name: str) -> str:
    return re.sub(r"[\s_-]+", "-", name.strip().lower())


def write_objects(path: Path, objects: OrientedObjects) -> None:
    """Write what `read_objects` reads, coordinates to a hundredth of a pixel."""
    lines = [
        " ".join([*(f"{v:.2f}" for v in points.ravel()), category, str(difficulty)])
        for points, category, difficulty in zip(
            objects.corners, objects.categories, objects.difficulties, strict=True
        )
    ]
    path.write_text("".join(f"{line}\n" for line in lines))


def _is_degenerate(corners: NDArray[np.float64]) -> bool:
    """Whether no three of four corners span a triangle."""
    a, b, c = corners[1:] - corners[0]
    twice = [u[0] * v[1] - u[1] * v[0] for u, v in ((a, b), (a, c), (b, c))]
    return max(map(abs, twice)) / 2 < _SMALLEST_AREA
