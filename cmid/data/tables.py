"""Tables that users bring: comma- or tab-separated text with a header.

Quoting follows RFC 4180: a quoted field may hold separators, doubled quotes and line ends. Texts
are full of quotes that follow no rule, though, and a reader that trusts them lets an unclosed one
swallow the rows behind it. A row whose quotes follow no rule is taken as it stands where that gives
one field a column, and is an error otherwise.
"""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cmid.data.text_files import text_lines

_IMAGE_NAME = re.compile(r"\S\.(jpe?g|png|tiff?|webp|bmp|gif|jp2)\s*$", re.IGNORECASE)


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        line: number of the line that it begins in, from 1.
        fields: one value a column; empty where ``fault`` is set.
        fault: what is wrong with it, or empty.
    """

    line: int
    fields: tuple[str, ...]
    fault: str = ""


class Table:
    """A header, and the rows below it one after the other.

    Args:
        path: the file. A header that holds a tab is divided by tabs, any other by commas.

    Attributes:
        header: names of the columns, without white space around them.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is empty or not UTF-8.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._lines = _Lines(text_lines(path))
        first = next((line for _, line in self._lines if line.strip()), None)
        if first is None:
            raise ValueError(f"{self.path} is empty: it needs a header and rows")
        self.separator = "\t" if "\t" in first else ","
        fields = next(iter(csv.reader([first], delimiter=self.separator)))
        self.header = tuple(name.strip() for name in fields)

    def rows(self) -> Iterator[Row]:
        """Yield the rows, once; empty lines are passed over."""
        for number, line in self._lines:
            if line.strip("\r\n \ufeff"):
                yield self._row(number, line)

    def check_unique(self, names: Iterable[str]) -> None:
        """Raise ValueError where one of these columns occurs twice in the header."""
        counts = Counter(name.lower() for name in self.header)
        for name in names:
            if counts[name.lower()] > 1:
                raise ValueError(
                    f"{self.path} has {counts[name.lower()]} columns {name!r}: rename all but one"
                )

    def _row(self, number: int, line: str) -> Row:
        if '"' not in line:
            return self._checked(number, line.rstrip("\r\n").split(self.separator))
        fields = self._quoted(line)
        if fields is None:
            fields = line.rstrip("\r\n").split(self.separator)
            if len(fields) != len(self.header):
                fault = (
                    "its quotes follow no rule: double those inside of a quoted field, and close it"
                )
                return Row(number, (), fault)
        return self._checked(number, fields)

    def _quoted(self, line: str) -> list[str] | None:
        """Fields by the rules of quoting, over several lines if need be; None if it has none."""
        taken = [line]

        def feed() -> Iterator[str]:
            yield line
            for _, more in self._lines:
                taken.append(more)
                yield more

        fields: list[str] | None
        try:
            fields = next(csv.reader(feed(), delimiter=self.separator, strict=True))
        except (csv.Error, StopIteration):
            fields = None
        # A caption of several lines is legal, but none of its lines is an image with its caption.
        if fields is not None and not any(map(self._looks_like_row, taken[1:])):
            return fields
        self._lines.put_back(taken[1:])
        return None

    def _looks_like_row(self, line: str) -> bool:
        fields = line.rstrip("\r\n").split(self.separator)
        if len(fields) < len(self.header):
            return False
        # The first field of a row is often a name, in which there are neither spaces nor quotes.
        name = self.separator == "\t" and re.fullmatch(r'[^\s"]+', fields[0])
        return bool(name) or any(map(_IMAGE_NAME.search, fields))

    def _checked(self, number: int, fields: list[str]) -> Row:
        more = [field for field in fields[len(self.header) :] if field.strip()]
        if more:
            return Row(number, (), "it has more fields than the header: quote commas")
        if len(fields) < len(self.header):
            fault = f"it has {len(fields)} fields, the header {len(self.header)}: fill them up"
            return Row(number, (), fault)
        return Row(number, tuple(fields[: len(self.header)]))


class _Lines:
    """Numbered lines, of which some can be put back."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._waiting: list[str] = []
        self._number = 0

    def __iter__(self) -> Iterator[tuple[int, str]]:
        return self

    def __next__(self) -> tuple[int, str]:
        line = self._waiting.pop() if self._waiting else next(self._lines)
        self._number += 1
        return self._number, line

    def put_back(self, lines: list[str]) -> None:
        self._waiting += reversed(lines)
        self._number -= len(lines)
