"""What a scorer is: images and texts to numbers that compare texts of one image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn

from cmid.evaluation.image_text import inference


class Scorer(Protocol):
    """Anything that says how well texts describe images, or answer questions about them."""

    def score(
        self,
        images: Sequence[Tensor | None],
        texts: Sequence[str],
        questions: Sequence[str] | None = None,
    ) -> Tensor:
        """Score texts; greater is better, against other texts for the same image and question.

        Args:
            images: ``B`` images ``(3, H, W)`` of any sizes, uint8 as they are stored; None where a
                scorer on a language model shall judge a mere text.
            texts: ``B`` captions or answers.
            questions: ``B`` questions that the texts answer; empty ones, or None, for captions.

        Returns:
            ``(B,)`` float32 on the CPU, unbounded. It does not depend on what else is scored in the
            same call.

        Raises:
            ValueError: not as many images, texts and questions.
        """


class LearnedScorer(nn.Module, ABC):
    """A network that is a `Scorer`; a subclass has `forward` with the arguments of `score`."""

    @property
    @abstractmethod
    def trunk(self) -> nn.Module:
        """All but the head."""

    @abstractmethod
    def towers(self) -> dict[str, list[nn.Module]]:
        """Parts of the trunk that can be trained by themselves: ``vision`` and ``language``."""

    def score(
        self,
        images: Sequence[Tensor | None],
        texts: Sequence[str],
        questions: Sequence[str] | None = None,
    ) -> Tensor:
        """See `Scorer.score`; calling the network itself gives scores with a gradient."""
        asked = [""] * len(texts) if questions is None else questions
        if not len(images) == len(texts) == len(asked):
            raise ValueError(
                f"{len(images)} images, {len(texts)} texts and {len(asked)} questions: give as many"
                " of each"
            )
        with inference(self):
            return self(images, texts, asked).cpu()
