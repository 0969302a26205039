"""Near-duplicates between the images of a test, of training and of pretraining."""

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
    """An image and the one of those that were learned from that it is a near-duplicate of.

    Attributes:
        index: number of the image.
        name, learned: names of both.
        similarity: at most 1, see `cmid.data.leaks.COPY`.
    """

    index: int
    name: str
    learned: str
    similarity: float

    def content(self, part: str) -> dict[str, Any]:
        """The same for JSON, the name as that of an image of a part."""
        found = asdict(self)
        return {"index": found.pop("index"), part: found.pop("name"), **found}


@dataclass(frozen=True)
class LeakCheck:
    """What was looked at, and found.

    Attributes:
        test_images: how many there are.
        twins: by what was learned from (``training``, ``pretraining``), the best twin of each test
            image that has one.
        training_images: how many there are.
        pretrained: the same of training images among those of pretraining; None if none was looked
            at. They cost a test nothing, but few labels are worth less if their images are known.
    """

    test_images: int
    twins: Mapping[str, Sequence[Twin]]
    training_images: int = 0
    pretrained: Sequence[Twin] | None = None

    @property
    def leaked(self) -> set[int]:
        """Numbers of the test images that have a twin."""
        return {twin.index for twins in self.twins.values() for twin in twins}

    def lines(self) -> list[str]:
        """What to print: a count for each, and the first names."""
        parts = [(f"{self.test_images} test", part, twins) for part, twins in self.twins.items()]
        if self.pretrained is not None:
            parts.append((f"{self.training_images} training", "pretraining", self.pretrained))
        lines = []
        for images, part, twins in parts:
            lines.append(
                f"leaks: {len(twins)} of {images} images are near-duplicates of {part} images"
            )
            lines += [f"  {t.name} is {t.learned} ({t.similarity:.2f})" for t in twins[:_NAMED]]
            if len(twins) > _NAMED:
                lines.append(f"  and {len(twins) - _NAMED} more")
        return lines

    def content(self) -> dict[str, Any]:
        """All of it, for JSON."""
        found = {
            part: [twin.content("test") for twin in twins] for part, twins in self.twins.items()
        }
        if self.pretrained is not None:
            found["pretraining of training"] = [
                twin.content("training") for twin in self.pretrained
            ]
        return found


def check_leaks(
    test: ImageSource,
    learned: Mapping[str, ImageSource],
    features: Mapping[str, Tensor] | None = None,
) -> LeakCheck:
    """Look for test images among those that were learned from, by perceptual hashes and pixels.

    With both ``training`` and ``pretraining``, training images are looked for among the latter.

    Args:
        learned: by name, ``training`` and ``pretraining``.
        features: ``(N, D)`` pooled features by the same names, and ``test``: nearest neighbours are
            looked at even if the hashes differ.

    Raises:
        UnreadableImageError: an image cannot be decoded.
    """
    units = {name: F.normalize(each, dim=1) for name, each in (features or {}).items()}
    images = {"test": test, **learned}

    def twins(part: str, of: str) -> list[Twin]:
        return _best_twins(part, images, of, (units[of], units[part]) if units else None)

    found = {name: twins("test", name) for name in learned}
    if not {"training", "pretraining"} <= {*learned}:
        return LeakCheck(len(test), found)
    training = len(learned["training"])
    return LeakCheck(len(test), found, training, twins("training", "pretraining"))


def _best_twins(
    part: str,
    images: Mapping[str, ImageSource],
    learned: str,
    embeddings: tuple[Tensor, Tensor] | None,
) -> list[Twin]:
    """The best twin of each image of a part that has one among those that were learned from."""
    source, best = images[learned], dict[int, Twin]()
    for leak in find_leaks(source, {part: images[part]}, embeddings=embeddings, all_twins=True):
        known = best.get(leak.place)
        if known is None or known.similarity < leak.similarity:
            twin = source.read(leak.index).name
            best[leak.place] = Twin(leak.place, leak.name, twin, leak.similarity)
    return [best[place] for place in sorted(best)]
