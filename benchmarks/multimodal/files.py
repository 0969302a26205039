"""Images that annotations name, and what is wrong with either."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cmid.data.folder import IMAGE_EXTENSIONS
from cmid.data.text_files import read_json

OnError = Literal["error", "skip"]


@dataclass
class Entries:
    """Entries of annotations, each of which is whole, an error, or counted.

    Attributes:
        folders: where images lie, in the order in which they are looked for.
        on_error: what a faulty entry or a missing image does: ``error``, or ``skip``.
        left_out: how many entries were left out, by reason.
    """

    folders: tuple[Path, ...]
    on_error: OnError = "error"
    left_out: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def entry(self, name: str) -> Iterator[None]:
        """Read one entry; what is missing in it is told by its name.

        Raises:
            ValueError: it is faulty, and errors are not to be skipped.
        """
        try:
            yield
        except (KeyError, TypeError, ValueError, FileNotFoundError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            if self.on_error == "error":
                raise ValueError(
                    f"{name}: {reason}; or count and leave out such entries with --on_error skip"
                ) from error
            kind = "image is missing" if isinstance(error, FileNotFoundError) else "faulty entry"
            self.left_out[kind] += 1

    def image(self, name: str) -> Path:
        """The file of an image, whose name may lack its ending.

        Raises:
            FileNotFoundError: there is none.
        """
        for folder in self.folders:
            for ending in ("", *IMAGE_EXTENSIONS):
                path = folder / f"{name}{ending}"
                if path.is_file():
                    return path
        raise FileNotFoundError(f"there is no image {name} in {self.folders[0]}")

    def facts(self) -> tuple[str, ...]:
        """What was left out, a line each."""
        return tuple(f"{count} left out: {reason}" for reason, count in self.left_out.items())


def rows_of(path: Path, key: str = "data") -> list[Any]:
    """A list of JSON, bare or under a key.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it holds no list.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    content = read_json(path)
    rows = content.get(key) if isinstance(content, dict) else content
    if not isinstance(rows, list):
        raise ValueError(f"{path} holds no list, nor one under {key!r}")
    return rows
