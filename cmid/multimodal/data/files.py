"""Conversations in a file: the form of LLaVA and GeoChat."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cmid.console import warn
from cmid.data.decoding import read_image
from cmid.multimodal.conversation import Conversation
from cmid.multimodal.data.source import ConversationSource, Example


class ConversationFile(ConversationSource):
    """A JSON list, or an object a line, of ``{"id", "image", "conversations"}``.

    ``image`` is a path, a list of them, or missing for text alone; ``conversations`` are
    ``{"from": "human" | "gpt", "value"}``, in which ``<image>`` marks the places of images. Texts
    keep their case and punctuation.

    Args:
        path: ``.json`` or ``.jsonl``.
        root: folder that paths of images start from; None is that of the file.
        on_error: what a faulty entry does: ``error``, or ``skip`` (counted, and said).
        num_bands: bands of the images.

    Attributes:
        skipped: how many entries were left out, by reason.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no list of entries, a faulty one (named), or none that is left.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        root: str | Path | None = None,
        on_error: Literal["error", "skip"] = "error",
        num_bands: int = 3,
    ) -> None:
        self.path, self.num_bands = Path(path), num_bands
        self.root = self.path.parent if root is None else Path(root)
        self.skipped: Counter[str] = Counter()
        self._entries: list[tuple[str, tuple[str, ...], Conversation]] = []
        for number, row in enumerate(_rows(self.path)):
            try:
                self._entries.append(self._entry(row, number))
            except (KeyError, TypeError, ValueError) as error:
                reason = f"no {error}" if isinstance(error, KeyError) else str(error)
                if on_error == "error":
                    raise ValueError(f"{self.path}: entry {number}: {reason}") from error
                self.skipped[reason] += 1
        for reason, count in self.skipped.items():
            warn(f"{count} entries of {self.path} are left out: {reason}")
        if not self._entries:
            raise ValueError(f"{self.path} has no conversation that can be used")

    def __len__(self) -> int:
        return len(self._entries)

    def read(self, index: int, *, generator: np.random.Generator | None = None) -> Example:
        name, paths, conversation = self._entries[index]
        images = tuple(
            read_image(self.root / path, name=path, num_bands=self.num_bands).pixels
            for path in paths
        )
        return Example(images, (conversation,), name)

    def texts(self, limit: int = 500) -> Iterator[str]:
        for _, _, conversation in self._entries[:limit]:
            for turn in conversation.turns:
                yield from (turn.question, turn.answer or "")

    def _entry(self, row: Any, number: int) -> tuple[str, tuple[str, ...], Conversation]:
        if not isinstance(row, Mapping):
            raise ValueError("it is no JSON object")
        given = row.get("image") or []
        paths = (given,) if isinstance(given, str) else tuple(given)
        missing = [path for path in paths if not (self.root / path).is_file()]
        if missing:
            raise ValueError(f"there is no image {self.root / missing[0]}")
        conversation = Conversation.of(row["conversations"], images=len(paths))
        if conversation.turns[-1].answer is None:
            raise ValueError("its last question has no answer")
        return str(row.get("id", number)), paths, conversation


def _rows(path: Path) -> list[Any]:
    if path.suffix not in (".json", ".jsonl"):
        raise ValueError(f"cannot read conversations of {path}: give .json or .jsonl")
    text = path.read_text(encoding="utf-8")
    try:
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        rows = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(rows, list):
        raise ValueError(f"{path} holds a {type(rows).__name__}, not a list of conversations")
    return rows
