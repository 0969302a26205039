"""What is known of an image, whatever set it comes from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cmid.boxes import Box, Floats
from cmid.vision_language.data.objects import ImageObjects


@dataclass(frozen=True)
class Changes:
    """What differs between two images of a place.

    Attributes:
        share: of the area, in [0, 1]; 0 says that nothing has changed.
        regions: boxes of connected changes in fractions of the image, the largest first.
        kind: what changed, in the plural, such as ``buildings``; empty where the set does not say.
    """

    share: float
    regions: tuple[Box, ...]
    kind: str = ""


@dataclass(frozen=True)
class Annotated:
    """An image, or two of a place, and what is known. What is None is not known.

    Attributes:
        images: files.
        label: class of the whole image.
        objects: all objects of the set's categories, unless ``partial``.
        partial: other objects may be there, too: nothing is counted, nothing is absent.
        cover: share of all pixels that each class covers for sure; where ``whole``, other classes
            cover none.
        whole: no pixel is without a class.
        changes: of a pair; None also where what has changed is too small to tell of.
        captions: of the whole image.
        attributes: plain values to write beside the conversations.
    """

    images: tuple[Path, ...]
    label: str | None = None
    objects: ImageObjects | None = None
    partial: bool = False
    cover: Mapping[str, float] | None = None
    whole: bool = True
    changes: Changes | None = None
    captions: tuple[str, ...] = ()
    attributes: Mapping[str, object] = field(default_factory=dict)

    @property
    def unlabelled(self) -> float:
        """Share of the pixels that any class may cover."""
        return 0.0 if self.whole else max(0.0, 1 - sum((self.cover or {}).values()))

    def corners(self, number: int) -> Floats:
        """``(4, 2)`` corners of an object, in fractions of the image."""
        assert self.objects is not None  # who asks has counted them
        height, width = self.objects.size
        if self.objects.corners:
            points = np.array(self.objects.corners[number])
        else:
            x0, y0, x1, y1 = self.objects.boxes[number]
            points = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
        return (points / (width, height)).clip(0, 1)


@dataclass(frozen=True)
class Vocabulary:
    """Names that occur anywhere in a set, sorted: what may be absent, or chosen from."""

    labels: tuple[str, ...]
    categories: tuple[str, ...]
    covers: tuple[str, ...]

    @classmethod
    def of(cls, items: Iterable[Annotated]) -> Vocabulary:
        labels, categories, covers = set[str](), set[str](), set[str]()
        for item in items:
            labels |= {item.label} - {None}  # type: ignore[arg-type]
            if item.objects is not None:
                categories |= {*item.objects.categories, *item.objects.crowds}
            covers |= {*(item.cover or ())}
        return cls(*(tuple(sorted(names)) for names in (labels, categories, covers)))
