"""Caption files of the evaluations: which split and which column of captions is read, and why."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cmid.vision_language.data import CaptionTable, ImageTextSource, KarpathyCaptions
from cmid.vision_language.data.columns import Columns, read_columns
from cmid.vision_language.data.problems import OnError

ALL = "all"
# The column that a benchmark's protocol reads, in the tables it is published as.
CAPTION_COLUMN_OF: dict[str, str] = {
    "skyscript": "title_multi_objects",
    "rsicd": "title",
    "rsitmd": "title",
    "ucm": "title",
}
# Both columns together are the mark of SkyScript's tables.
_OF_SKYSCRIPT = {"title", "title_multi_objects"}


@dataclass(frozen=True)
class CaptionFile:
    """An opened caption file.

    Attributes:
        source: images with captions.
        facts: what was chosen, in words.
    """

    source: ImageTextSource
    facts: str


def open_captions(
    path: str,
    *,
    images: str | None = None,
    split: str | None = None,
    caption_column: str | None = None,
    protocol: str | None = None,
    on_error: OnError = "error",
) -> CaptionFile:
    """Images with captions: Karpathy's JSON (``.json``), else a table or lines of JSON.

    What is chosen for want of a word on it is printed to the error output.

    Args:
        images: folder that paths start from; None: the file's own.
        split: part of the file, or ``all``; None: ``test`` where the file tells splits, else all.
        caption_column: column of a table or of lines of JSON.
        protocol: a key of `CAPTION_COLUMN_OF`, instead of a column.
        on_error: what a faulty entry does: ``error`` or ``skip`` (counted, reported).

    Raises:
        FileNotFoundError: no such file, or its first image does not exist.
        ValueError: several columns of captions and none named, a column that is not there, no such
            split, a faulty entry.
    """
    if Path(path).is_dir():
        raise IsADirectoryError(f"{path} is a folder: name the file of captions")
    if not Path(path).is_file():
        raise FileNotFoundError(f"file of captions {path} does not exist")
    known = read_columns(path)
    split, split_facts = _choose_split(path, known, split)
    if Path(path).suffix.lower() == ".json":
        if caption_column or protocol:
            raise ValueError(f"{path} has no columns: leave out --caption_column and --protocol")
        source: ImageTextSource = KarpathyCaptions(
            path, root=images, split=split, on_error=on_error
        )
        return CaptionFile(source, split_facts + _skipped(source))
    column = _choose_column(path, known, caption_column, protocol)
    source = CaptionTable(path, root=images, split=split, caption_column=column, on_error=on_error)
    shown = f", captions of the column {column}" if column else ""
    return CaptionFile(source, split_facts + shown + _skipped(source))


def _choose_split(path: str, known: Columns, split: str | None) -> tuple[str | None, str]:
    """The split to read, None for all, and how to say it."""
    if split == ALL:
        return None, "all splits" if known.split else "all rows"
    if split is not None:
        if not known.split:
            raise ValueError(f"{path} tells no splits: leave out --split, or give --split {ALL}")
        return split, f"split {split}"
    if known.split:
        return "test", "split test"
    print(f"{path} tells no splits: all of it is read", file=sys.stderr)
    return None, "all rows (no splits are told)"


def _choose_column(
    path: str, known: Columns, column: str | None, protocol: str | None
) -> str | None:
    if column is not None and protocol is not None:
        raise ValueError("give --caption_column or --protocol, not both")
    if protocol is not None:
        if protocol not in CAPTION_COLUMN_OF:
            raise ValueError(f"no protocol {protocol!r}: give {_listed([*CAPTION_COLUMN_OF])}")
        column = CAPTION_COLUMN_OF[protocol]
    if column is not None:
        if column.strip().lower() not in known.names:
            raise ValueError(f"{path} has no column {column}, only {', '.join(known.names)}")
        return column
    if len(known.captions) < 2:
        # Lines of JSON may call theirs differently from line to line.
        return None
    if {*known.captions} == _OF_SKYSCRIPT:
        column = CAPTION_COLUMN_OF["skyscript"]
        print(
            f"{path}: captions are those of the column {column}, as SkyScript's protocol has it;"
            " --caption_column title reads the other one",
            file=sys.stderr,
        )
        return column
    raise ValueError(
        f"{path} has {len(known.captions)} columns of captions: name one,"
        f" --caption_column {_listed(known.captions)}"
    )


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else "".join(names)


def _skipped(source: object) -> str:
    count = len(getattr(source, "skipped", ()))
    return f", {count} faulty entries skipped" if count else ""
