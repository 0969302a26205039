"""The one interface of preference data: an indexable source of images and ranked texts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
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
        has_image: False for preferences between mere texts.

    Raises:
        AnnotationError: an empty or a repeated candidate, or none that is better than another.
    """

    candidates: tuple[str, ...]
    question: str = ""
    ranks: tuple[int | None, ...] = ()
    kind: str = ""
    has_image: bool = True

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
    """An indexable source of preferences, cheap to pickle, whose images are read one by one."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of preferences."""

    @abstractmethod
    def preference(self, index: int) -> Preference:
        """The texts, without reading the image."""

    @abstractmethod
    def read(self, index: int) -> Tensor | None:
        """The image ``(3, H, W)`` uint8; None where there is none.

        Raises:
            UnreadableImageError: it cannot be decoded, or has more than 8 bits a band.
        """
