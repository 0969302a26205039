"""Test images that are near-duplicates of images that were learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from cmid.data.leaks import find_leaks
from cmid.data.source import ImageSource

_NAMED = 5  # as many of each kind are printed


@dataclass(frozen=True)
class Twin:
    """A test image and the image that it is a near-duplicate of.

    Attributes:
        index: number of the test image.
        test, learned: names of both.
        similarity: at most 1, see `cmid.data.leaks.COPY`.
    """

    index: int
    test: str
    learned: str
    similarity: float


@dataclass(frozen=True)
class LeakCheck:
    """What was looked at, and found.

    Attributes:
        test_images: how many there are.
        twins: by what was learned from (``training``, ``pretraining``), the best twin of each test
            image that has one.
    """

    test_images: int
    twins: Mapping[str, Sequence[Twin]]

    @property
    def leaked(self) -> set[int]:
        """Numbers of the test images that have a twin."""
        return {twin.index for twins in self.twins.values() for twin in twins}

    def lines(self) -> list[str]:
        """What to print: a count for each, and the first names."""
        lines = []
        for part, twins in self.twins.items():
            lines.append(
                f"leaks: {len(twins)} of {self.test_images} test images are near-duplicates of"
                f" {part} images"
            )
            lines += [f"  {t.test} is {t.learned} ({t.similarity:.2f})" for t in twins[:_NAMED]]
            if len(twins) > _NAMED:
                lines.append(f"  and {len(twins) - _NAMED} more")
        return lines

    def content(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {part: [asdict(twin) for twin in twins] for part, twins in self.twins.items()}


def check_leaks(
    test: ImageSource,
    learned: Mapping[str, ImageSource],
    features: Mapping[str, Tensor] | None = None,
) -> LeakCheck:
    """Look for test images among those that were learned from, by perceptual hashes and pixels.

    Args:
        learned: by name, ``training`` and ``pretraining``.
        features: ``(N, D)`` pooled features by the same names, and ``test``: nearest neighbours are
            looked at even if the hashes differ.

    Raises:
        UnreadableImageError: an image cannot be decoded.
    """
    units = {name: F.normalize(each, dim=1) for name, each in (features or {}).items()}
    twins: dict[str, list[Twin]] = {}
    for name, source in learned.items():
        both = (units[name], units["test"]) if units else None
        best: dict[int, Twin] = {}
        for leak in find_leaks(source, {"test": test}, embeddings=both, all_twins=True):
            known = best.get(leak.place)
            if known is None or known.similarity < leak.similarity:
                twin = source.read(leak.index).name
                best[leak.place] = Twin(leak.place, leak.name, twin, leak.similarity)
        twins[name] = [best[place] for place in sorted(best)]
    return LeakCheck(len(test), twins)
