"""The one interface of preference data: an indexable source of images and ranked texts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from cmid.vision_language.data.problems import AnnotationError


@dataclass(frozen=True)
class Preference:
    """Texts for one image and question, ranked.

    Attributes:
        candidates: captions or answers, best first.
        question: what the candidates answer; empty for captions.
        ranks: rank of each candidate, smaller is better, equal for ties, None where it is not
            known: such a candidate is compared with none. By default the order.
        kind: what sets the candidates apart; accuracies are told by it.

    Raises:
        AnnotationError: an empty or a repeated candidate, or none that is better than another.
    """

    candidates: tuple[str, ...]
    question: str = ""
    ranks: tuple[int | None, ...] = ()
    kind: str = ""

    def __post_init__(self) -> None:
        if not self.ranks:
            object.__setattr__(self, "ranks", tuple(range(len(self.candidates))))
        if any(not text.strip() for text in self.candidates):
            raise AnnotationError("a text of it is empty")
        if len(self.ranks) != len(self.candidates):
            raise AnnotationError(f"it has {len(self.ranks)} ranks, {len(self.candidates)} texts")
        for better, worse in self.pairs():
            if self.candidates[better] == self.candidates[worse]:
                raise AnnotationError(f"its {self.candidates[better]!r} is chosen and rejected")
        if next(self.pairs(), None) is None:
            raise AnnotationError("it prefers no text to another")

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Places of a better and of a worse candidate, for all pairs that are compared."""
        return ranked_pairs(self.ranks)


def ranked_pairs(ranks: Sequence[int | None]) -> Iterator[tuple[int, int]]:
    """Places of a smaller and of a greater rank, for all pairs; a missing rank is in none."""
    for i, better in enumerate(ranks):
        for j, worse in enumerate(ranks):
            if better is not None and worse is not None and better < worse:
                yield i, j


class PreferenceSource(ABC):
    """An indexable source of images with preferences, cheap to pickle; images are read lazily."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of images, or of what stands for one where texts are compared alone."""

    @abstractmethod
    def preferences(self, index: int) -> tuple[Preference, ...]:
        """What is preferred for an image, at least one, without reading it."""

    @abstractmethod
    def read(self, index: int) -> Tensor | None:
        """An image ``(3, H, W)`` uint8; None where texts are compared alone.

        Raises:
            UnreadableImageError: it cannot be decoded, or has more than 8 bits a band.
        """


def score_preferences(
    score: Callable[..., Tensor],
    images: Sequence[Tensor | None],
    preferences: Sequence[Sequence[Preference]],
) -> list[list[Tensor]]:
    """Score every candidate with its image and its question.

    Args:
        score: images, texts and questions to scores, as `Scorer.score`.
        images: ``B`` images or None.
        preferences: those of each image.

    Returns:
        for each image and each of its preferences, the scores ``(N,)`` of its candidates.
    """
    rows = [
        (image, text, each.question)
        for image, own in zip(images, preferences, strict=True)
        for each in own
        for text in each.candidates
    ]
    counts = [len(each.candidates) for own in preferences for each in own]
    parts = iter(score(*(list(column) for column in zip(*rows, strict=True))).split(counts))
    return [[next(parts) for _ in own] for own in preferences]
