"""What sources of conversations that are read from files have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cmid.console import warn
from cmid.data.decoding import read_image
from cmid.data.folder import IMAGE_EXTENSIONS
from cmid.multimodal.boxes import BoxForm
from cmid.multimodal.conversation import Conversation
from cmid.multimodal.data.source import ConversationSource, Example

Entry = tuple[str, tuple[str, ...], Conversation]
"""Name, images below the root, and what is said about them."""
_SHOWN = 3


class UnusableEntryError(ValueError):
    """A faulty entry: what is wrong, and with what."""

    def __init__(self, reason: str, what: str = "") -> None:
        super().__init__(f"{reason} {what}".strip())
        self.reason, self.what = reason, what


class ConversationEntries(ConversationSource):
    """Conversations of annotation files, about image files.

    Args:
        path: the file, or what all of them have in common.
        root: folder that paths of images start from; None is that of the file.
        on_error: what a faulty entry does: ``error``, or ``skip`` (counted, and said).
        num_bands: bands of the images.
        boxes: how boxes are written; they are those of the whole image.
        per_image: conversations about the same images that make one example, which
            `cmid.multimodal.stages.StageConfig.share_prefix` passes on with the images once; of
            more, so many are drawn anew in each epoch. With 1 every entry is an example.

    Attributes:
        skipped: how many entries were left out, by reason.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another form, a faulty entry (named, with the number of others), or none left.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        root: str | Path | None = None,
        on_error: Literal["error", "skip"] = "error",
        num_bands: int = 3,
        boxes: BoxForm = BoxForm(),
        per_image: int = 1,
    ) -> None:
        if per_image < 1:
            raise ValueError(f"per_image {per_image}: give 1 or more")
        self.path, self.num_bands, self.boxes = Path(path), num_bands, boxes
        self.on_error = on_error
        self.root = self.path.parent if root is None else Path(root)
        self.skipped: Counter[str] = Counter()
        self._entries: list[Entry] = []
        shown: dict[str, list[str]] = {}
        first = ""
        for where, row in self.rows():
            try:
                self._entries.append(self._checked(*self.entry(row, where)))
            except (KeyError, TypeError, ValueError) as error:
                fault = (
                    error
                    if isinstance(error, UnusableEntryError)
                    else UnusableEntryError(_reason(error))
                )
                self.skipped[fault.reason] += 1
                shown.setdefault(fault.reason, []).append(fault.what or where)
                first = first or f"{self.path}: {where}: {fault}"
        if first and on_error == "error":
            others = f" ({self.skipped.total()} faulty entries in all)"
            raise ValueError(first + (others if self.skipped.total() > 1 else ""))
        for reason, count in self.skipped.items():
            names = ", ".join(shown[reason][:_SHOWN]) + (", ..." if count > _SHOWN else "")
            warn(f"{count} entries of {self.path} are left out: {reason} {names}")
        if not self._entries:
            raise ValueError(f"{self.path} has no conversation that can be used")
        self.single_turn = all(len(entry[2].turns) == 1 for entry in self._entries)
        self.per_image = per_image
        groups: dict[tuple[str, ...] | int, list[int]] = {}
        for number, (_, paths, _) in enumerate(self._entries):
            groups.setdefault(paths if paths and per_image > 1 else number, []).append(number)
        self._examples = list(groups.values())

    @abstractmethod
    def rows(self) -> Iterator[tuple[str, Any]]:
        """Where each entry stands, and what stands there."""

    @abstractmethod
    def entry(self, row: Any, where: str) -> tuple[str, Sequence[str], Any]:
        """Name, images, and what `Conversation.of` takes.

        Raises:
            KeyError, TypeError, ValueError: it is faulty.
        """

    def __len__(self) -> int:
        return len(self._examples)

    def read(self, index: int, *, generator: np.random.Generator | None = None) -> Example:
        numbers = self._examples[index]
        if len(numbers) > self.per_image:
            draws = np.random.default_rng(index) if generator is None else generator
            numbers = draws.choice(numbers, self.per_image, replace=False).tolist()
        name, paths, _ = self._entries[numbers[0]]
        images = tuple(
            read_image(self.root / path, name=path, num_bands=self.num_bands).pixels
            for path in paths
        )
        return Example(images, tuple(self._entries[number][2] for number in numbers), name)

    def length(self, index: int) -> int:
        numbers = self._examples[index]
        turns = [turn for number in numbers for turn in self._entries[number][2].turns]
        letters = sum(len(turn.question) + len(turn.answer or "") for turn in turns)
        return letters * min(len(numbers), self.per_image) // len(numbers)

    def texts(self, limit: int = 500) -> Iterator[str]:
        for _, _, conversation in self._entries[:limit]:
            for turn in conversation.turns:
                yield from (turn.question, turn.answer or "")

    def _checked(self, name: str, paths: Sequence[str], said: Any) -> Entry:
        found = tuple(self._found(path) for path in paths)
        conversation = Conversation.of(said, images=len(found))
        if conversation.turns[-1].answer is None:
            raise ValueError("its last question has no answer")
        for turn in conversation.turns:
            if not turn.question.strip() or not str(turn.answer).strip():
                raise UnusableEntryError("a question or an answer is empty")
            if found and (box := self.boxes.outside(f"{turn.question} {turn.answer}")):
                raise UnusableEntryError(
                    f"a box lies outside of an image of {self.boxes.cells} cells a side (give the"
                    " grid of the file as boxes.cells of the source):",
                    box,
                )
        return name, found, conversation

    def _found(self, path: str) -> str:
        """A path, with an ending where it is written without."""
        for ending in ("", *IMAGE_EXTENSIONS):
            if (self.root / f"{path}{ending}").is_file():
                return f"{path}{ending}"
        raise UnusableEntryError("there is no image", str(self.root / path))


def _reason(error: Exception) -> str:
    return f"no {error}" if isinstance(error, KeyError) else str(error)
