"""Columns of caption files: which hold paths, captions and splits, and what a file has of them."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmid.data.tables import Table
from cmid.data.text_files import json_lines
from cmid.vision_language.data.problems import AnnotationError, load_json

logger = logging.getLogger(__name__)

PATH_COLUMNS = ("filepath", "path", "file", "image", "filename", "image_path")
CAPTION_COLUMNS = ("captions", "caption", "title", "text", "sentence")
SPLIT_COLUMN = "split"
JSON_LINES = (".jsonl", ".ndjson")
# Words of other columns that begin or end with the word of a caption, and hold none.
_ABOUT_TEXTS = re.compile(
    r"ids?|len(gth)?|count|number|lang(uage)?|source|score|type|index|file|path|url|tokens?|model"
    r"|embeddings?"
)


@dataclass(frozen=True)
class Columns:
    """What a caption file has.

    Attributes:
        names: column names in lower case; for lines of JSON, all that occur.
        captions: names of columns with captions, the one that is read by default first; for
            lines of JSON, those of the line that has most.
        split: True if a column says to which split an image belongs.
    """

    names: tuple[str, ...]
    captions: tuple[str, ...]
    split: bool


def read_columns(path: str | os.PathLike[str]) -> Columns:
    """Look which columns a table, lines of JSON or the JSON of a caption benchmark has.

    Raises:
        OSError, ValueError: the file is missing, empty, or not UTF-8.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".json":
        content = load_json(path)
        images = content.get("images") if isinstance(content, dict) else None
        entries = [image for image in images or () if isinstance(image, dict)]
        return Columns((), (), any(SPLIT_COLUMN in image for image in entries))
    if suffix not in JSON_LINES:
        return _of_rows([[name.lower() for name in Table(path).header]])
    return _of_rows(_names_of_lines(path))


def caption_columns(names: Iterable[str]) -> tuple[str, ...]:
    """Columns that hold captions by their names: ``title``, ``title_multi_objects``, ``alt_text``.

    Args:
        names: column names in lower case.
    """
    names = [*names]
    usual = [name for name in CAPTION_COLUMNS if name in names]
    others = [name for name in names if name not in usual and _speaks_of_captions(name)]
    return (*usual, *others)


def choose(row: Mapping[str, Any], names: Sequence[str]) -> str:
    """The first of ``names`` that a row has.

    Raises:
        AnnotationError: it has none of them.
    """
    for name in names:
        if name in row:
            return name
    raise AnnotationError(f"it has none of the columns {', '.join(names)}, only {', '.join(row)}")


def check_header(table: Table, *, split: str | None, chosen: Sequence[Sequence[str]]) -> None:
    """Check the columns of a table that are going to be read, once for all rows.

    Args:
        split: value of the column ``split`` of the rows to read.
        chosen: acceptable columns for paths and for captions, the best one first.

    Raises:
        ValueError: a column that is read occurs twice, or there is no column for a split.
    """
    header = [name.lower() for name in table.header]
    if split is not None and SPLIT_COLUMN not in header:
        raise ValueError(
            f"{table.path} has no column {SPLIT_COLUMN}, only {', '.join(header)}: name no split,"
            " and all rows are read"
        )
    read = [next((name for name in names if name in header), "") for names in chosen]
    table.check_unique([*filter(None, read), SPLIT_COLUMN])
    others = [name for name in caption_columns(header) if name != read[1]]
    if others and len(chosen[1]) > 1:
        logger.warning(
            "%s: captions are those of the column %s; there is also %s, which caption_column can"
            " name",
            table.path,
            read[1] or "(none)",
            ", ".join(others),
        )


def _speaks_of_captions(name: str) -> bool:
    words = re.split(r"[\s_\-.]+", name)
    ends = {words[0].removesuffix("s"), words[-1].removesuffix("s")}
    return bool(ends & {"caption", "title", "text", "sentence"}) and not any(
        map(_ABOUT_TEXTS.fullmatch, words)
    )


def _of_rows(rows: Iterable[Sequence[str]]) -> Columns:
    names: dict[str, None] = {}
    captions: tuple[str, ...] = ()
    for row in rows:
        names |= dict.fromkeys(row)
        captions = max(captions, caption_columns(row), key=len)
    return Columns(tuple(names), captions, SPLIT_COLUMN in names)


def _names_of_lines(path: Path) -> Iterable[list[str]]:
    """Names in every line that can be read; faulty ones are found where the captions are."""
    for _, line in json_lines(path):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            yield [name.lower() for name in row]
