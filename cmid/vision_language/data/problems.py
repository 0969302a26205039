"""Faulty annotations stop a source, or are counted and reported; none goes unnoticed."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from cmid.data.text_files import read_json

logger = logging.getLogger(__name__)

OnError = Literal["error", "skip"]
_SHOWN = 3


class AnnotationError(ValueError):
    """What is wrong with an entry; file and entry are added by `Problems`."""


class FaultyEntryError(ValueError):
    """A faulty entry of an annotation file; ``on_error="skip"`` counts it and leaves it out."""

    skippable = True  # a command adds the name of its option


class Problems:
    """What a file's annotations suffer from.

    Args:
        path: the file.
        on_error: ``error`` raises at the first problem, ``skip`` notes it.

    Attributes:
        skipped: one line for every skipped entry.
        left_out: counts of what options leave out, by reason.
    """

    def __init__(self, path: Path, on_error: OnError) -> None:
        self.path = path
        self.on_error = on_error
        self.skipped: list[str] = []
        self.left_out: Counter[str] = Counter()

    @contextmanager
    def at(self, entry: str) -> Iterator[None]:
        """Name file and entry of an AnnotationError, or skip what is left of the block."""
        try:
            yield
        except AnnotationError as error:
            message = f"{self.path}: {entry}: {error}"
            if self.on_error == "error":
                raise FaultyEntryError(f"{message}; correct it") from None
            self.skipped.append(message)

    def report(self) -> None:
        """Log, in a line each, what is skipped and what is left out."""
        if self.skipped:
            shown = "; ".join(self.skipped[:_SHOWN])
            logger.warning("%s: %d entries skipped: %s", self.path, len(self.skipped), shown)
        if self.left_out:
            counts = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items())
            logger.warning("%s: left out: %s", self.path, counts)


def load_json(path: Path) -> Any:
    """Content of a JSON file; the errors name it."""
    try:
        return read_json(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"annotations {path} do not exist") from None


def field(entry: Any, name: str) -> Any:
    """A field of an entry; raises AnnotationError where it is missing."""
    if not isinstance(entry, dict) or name not in entry:
        raise AnnotationError(f"it has no {name}")
    return entry[name]


def text_field(entry: Any, name: str) -> str:
    """A field that holds a text."""
    value = field(entry, name)
    if not isinstance(value, str) or not value.strip():
        raise AnnotationError(f"its {name} is {value!r}, not a text")
    return value.strip()
