"""The one interface of conversation data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from cmid.multimodal.boxes import BoxForm
from cmid.multimodal.conversation import Conversation


@dataclass(frozen=True, eq=False)
class Example:
    """Images and what is said about them.

    Attributes:
        images: ``(C, H, W)`` each, of any size: none, one or several.
        conversations: each about all of the images, and independent of the others.
        name: for messages.
    """

    images: tuple[Tensor, ...]
    conversations: tuple[Conversation, ...]
    name: str = ""


class ConversationSource(ABC):
    """An indexable source of examples; cheap to pickle, files are opened lazily.

    Attributes:
        num_bands: bands of every image.
        boxes: how boxes are written; a model that is trained on the source keeps it.
        single_turn: every conversation is one question and its answer.
    """

    num_bands: int = 3
    boxes: BoxForm = BoxForm()
    single_turn: bool = False

    @abstractmethod
    def __len__(self) -> int:
        """Number of examples."""

    @abstractmethod
    def read(self, index: int, *, generator: np.random.Generator | None = None) -> Example:
        """One example.

        Args:
            generator: of what is drawn; None makes it a function of ``index`` alone.

        Raises:
            UnreadableImageError: an image could not be decoded.
        """

    def of_epoch(self, epoch: int) -> ConversationSource:
        """The source as it is in an epoch; most are the same in all."""
        return self

    def length(self, index: int) -> int | None:
        """About how long the texts of an example are, in letters, without reading it; or None."""
        return None

    def texts(self, limit: int = 500) -> Iterator[str]:
        """Questions and answers of the first examples, for a tokenizer to learn from."""
        for index in range(min(limit, len(self))):
            for conversation in self.read(index).conversations:
                for turn in conversation.turns:
                    yield turn.question
                    yield turn.answer or ""
