"""Captions of image files: tables, lines of JSON, and the JSON of caption benchmarks."""

from __future__ import annotations

import ast
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from cmid.data.tables import Table
from cmid.data.text_files import json_lines
from cmid.vision_language.data.columns import (
    CAPTION_COLUMNS,
    JSON_LINES,
    PATH_COLUMNS,
    SPLIT_COLUMN,
    check_header,
    choose,
)
from cmid.vision_language.data.files import AnnotatedFiles, FileEntry
from cmid.vision_language.data.problems import (
    AnnotationError,
    Problems,
    field,
    load_json,
    text_field,
)

_LIST = re.compile(r"\s*\[\s*[\"'{].*\]\s*$", re.DOTALL)
_TUPLE = re.compile(r"\s*\(\s*([\"']).*,.*\)\s*$", re.DOTALL)
_NO_COMMA = re.compile(r"""(?<=['"])\s+(?=['"])""")
_Row = tuple[str, dict[str, Any]]  # where it stands, and its fields


class CaptionTable(AnnotatedFiles):
    """Images and captions in a table: CSV, TSV or lines of JSON (``.jsonl``).

    A table has a header. Rows of the same file are one image with several captions. The captions of
    a row may be a list: of JSON, or as JSON or Python write it in one field of a table. How quotes
    are read tells `cmid.data.tables`; the text has to be UTF-8.

    Args:
        path: the table. A CSV whose header holds a tab is divided by tabs.
        split: value of the column ``split`` of rows to take; None for all.
        path_column: column of paths; by default the first there is of ``filepath``, ``path``,
            ``file``, ``image``, ``filename`` and ``image_path``.
        caption_column: column of captions; by default ``captions``, ``caption``, ``title``,
            ``text`` or ``sentence``; that a table has others with captions, too, is logged.
        **file: of `AnnotatedFiles`.

    Raises:
        FileNotFoundError: the table or its first image does not exist.
        ValueError: a column is missing, a row is faulty, or no row has the split.
    """

    has_regions = False

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        split: str | None = None,
        path_column: str | None = None,
        caption_column: str | None = None,
        **file: Any,
    ) -> None:
        self.split = split
        self.columns = (
            PATH_COLUMNS if path_column is None else (path_column.strip().lower(),),
            CAPTION_COLUMNS if caption_column is None else (caption_column.strip().lower(),),
        )
        super().__init__(path, **file)

    def entries(self, path: Path, problems: Problems) -> Iterator[FileEntry]:
        if not path.is_file():
            raise FileNotFoundError(f"table of captions {path} does not exist")
        if path.suffix.lower() in JSON_LINES:
            rows = json_rows(path, problems)
        else:
            table = Table(path)
            check_header(table, split=self.split, chosen=self.columns)
            rows = table_rows(table, problems)
        return _group_rows(rows, self.columns, self.split, problems)


class KarpathyCaptions(AnnotatedFiles):
    """Caption benchmarks in the JSON form of Karpathy's splits: UCM, RSICD, RSITMD, Sydney, COCO.

    The file is ``{"images": [{"filename", "split", "sentences": [{"raw"}]}]}``; an optional
    ``filepath`` is the sub-folder of an image.

    Args:
        path: the JSON file.
        split: ``train``, ``val`` or ``test``; None for all.
        **file: of `AnnotatedFiles`.

    Raises:
        FileNotFoundError: the file or its first image does not exist.
        ValueError: it has not this form, an entry is faulty, or there is no such split.
    """

    has_regions = False

    def __init__(
        self, path: str | os.PathLike[str], *, split: str | None = None, **file: Any
    ) -> None:
        self.split = split
        super().__init__(path, **file)

    def entries(self, path: Path, problems: Problems) -> Iterator[FileEntry]:
        content = load_json(path)
        images = content.get("images") if isinstance(content, dict) else None
        if not isinstance(images, list):
            raise ValueError(f"{path} has no list images of captions with a split")
        splits: Counter[str] = Counter()
        for number, image in enumerate(images):
            with problems.at(f"images[{number}]"):
                name = text_field(image, "filename")
                name = os.path.join(image.get("filepath") or "", name)
                splits[str(image.get("split"))] += 1
                if self.split is not None and field(image, "split") != self.split:
                    continue
                sentences = field(image, "sentences")
                if not isinstance(sentences, list):
                    raise AnnotationError("its sentences are not a list")
                captions = list[str]()
                for place, sentence in enumerate(sentences):
                    with problems.at(f"images[{number}] ({name}), sentence {place}"):
                        captions.append(text_field(sentence, "raw"))
                if not captions:
                    raise AnnotationError("it has no sentence")
                yield FileEntry(name, tuple(captions))
        _check_split(problems, self.split, splits)


def _group_rows(
    rows: Iterator[_Row],
    columns: tuple[Sequence[str], Sequence[str]],
    split: str | None,
    problems: Problems,
) -> Iterator[FileEntry]:
    captions_of: dict[str, list[str]] = {}
    splits: Counter[str] = Counter()
    for where, row in rows:
        with problems.at(where):
            if split is not None:
                own = str(field(row, SPLIT_COLUMN)).strip()
                splits[own] += 1
                if own != split:
                    continue
            path_column, caption_column = (choose(row, names) for names in columns)
            path, captions = text_field(row, path_column), listed(row[caption_column])
            if not captions or not all(isinstance(c, str) and c.strip() for c in captions):
                raise AnnotationError(f"its {caption_column} is {row[caption_column]!r}, no text")
            captions_of.setdefault(path, []).extend(caption.strip() for caption in captions)
    _check_split(problems, split, splits)
    for path, texts in captions_of.items():
        yield FileEntry(path, tuple(texts))


def _check_split(problems: Problems, split: str | None, splits: Counter[str]) -> None:
    if split is not None and split not in splits:
        found = ", ".join(f"{name} ({count})" for name, count in splits.items()) or "none"
        raise ValueError(f"{problems.path} has no split {split!r}; there are: {found}")


def listed(value: Any) -> list[Any]:
    """Captions of a field: a list, a list written as text, or one text.

    Raises:
        AnnotationError: it begins as a list of texts does, and is none.
    """
    if isinstance(value, list):
        return value
    if not isinstance(value, str) or not (_LIST.match(value) or _TUPLE.match(value)):
        return [value]
    readers: tuple[Callable[[str], Any], ...] = (json.loads, ast.literal_eval)
    for read in readers:
        try:
            found = read(value.strip())
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        # Python joins texts without a comma between them, which numpy prints so.
        if isinstance(found, list | tuple) and not _NO_COMMA.search(value):
            return list(found)
    if not _LIST.match(value):  # a text in brackets
        return [value]
    raise AnnotationError(f"its captions {value[:60]!r} are no list with commas between its texts")


def json_rows(path: Path, problems: Problems) -> Iterator[_Row]:
    """Yield where each line stands, and its fields by their names in small letters."""
    for number, line in json_lines(path):
        with problems.at(f"line {number}"):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise AnnotationError(f"it is not JSON ({error})") from error
            if not isinstance(row, dict):
                raise AnnotationError("it is not an object")
            yield f"line {number}", {name.lower(): value for name, value in row.items()}


def table_rows(table: Table, problems: Problems) -> Iterator[_Row]:
    """Yield where each row stands, and its fields by their names in small letters."""
    header = [name.lower() for name in table.header]
    for row in table.rows():
        where = f"line {row.line}"
        with problems.at(where):
            if row.fault:
                raise AnnotationError(row.fault)
            yield where, dict(zip(header, row.fields, strict=True))
