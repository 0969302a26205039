"""Text that users bring: UTF-8 with or without its mark, and one line where it is not.

Every list, table, JSON or label file of a user is read here, so that a file of another encoding
(Latin-1, GBK, the UTF-16 of spreadsheets) answers with its name and the remedy.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_MARK = b"\xef\xbb\xbf"  # byte-order mark of UTF-8, which spreadsheets write
_OTHER_MARKS = (b"\xff\xfe", b"\xfe\xff")
REMEDY = "save it as UTF-8"


def decode_text(data: bytes, *, name: str, first_line: int = 1) -> str:
    """Decode UTF-8; a byte-order mark at the start is left out.

    Args:
        data: encoded text.
        name: name of the file, for messages.
        first_line: number of the line that ``data`` begins with, for messages.

    Raises:
        ValueError: UTF-16, null bytes, or anything else that is not UTF-8; names file and line.
    """
    if first_line == 1:
        if data[:2] in _OTHER_MARKS:
            raise ValueError(f"{name} is UTF-16, as spreadsheets write it: {REMEDY}")
        data = data.removeprefix(_MARK)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = first_line + data.count(b"\n", 0, error.start)
        raise ValueError(
            f"{name}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8: {REMEDY}"
        ) from None
    if "\0" in text:
        line = first_line + text.count("\n", 0, text.index("\0"))
        raise ValueError(f"{name}, line {line}: a null byte, so no UTF-8 text: {REMEDY}")
    return text


def read_text(path: str | os.PathLike[str]) -> str:
    """All text of a file, with line ends as they are stored.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not UTF-8, as `decode_text`.
    """
    return decode_text(Path(path).read_bytes(), name=os.fspath(path))


def text_lines(path: str | os.PathLike[str]) -> Iterator[str]:
    r"""Lines of a file one after the other, each with its end (``\n``, ``\r\n`` or ``\r``).

    Raises:
        OSError, ValueError: as `read_text`.
    """
    name = os.fspath(path)
    with Path(path).open("rb") as file:
        for number, raw in enumerate(file, start=1):
            # Of a text in the line ends of old Macs, all is one line here.
            yield from io.StringIO(decode_text(raw, name=name, first_line=number), newline="")


def stripped_lines(path: str | os.PathLike[str]) -> list[str]:
    """Lines without white space around them; empty ones are left out.

    Raises:
        OSError, ValueError: as `read_text`.
    """
    return [line for line in map(str.strip, text_lines(path)) if line]


def parse_json(text: str, *, name: str) -> Any:
    """Content of JSON text.

    Raises:
        ValueError: it is no JSON; names file, line and column.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        reason = f"{error.msg} in line {error.lineno}, column {error.colno}"
        if not text.strip():
            reason = "it is empty"
        raise ValueError(f"{name} is not JSON ({reason}): correct it there") from None
    except RecursionError:
        raise ValueError(f"{name} is not JSON that can be read: it is nested too deep") from None


def read_json(path: str | os.PathLike[str]) -> Any:
    """Content of a JSON file.

    Raises:
        OSError, ValueError: as `read_text` and `parse_json`.
    """
    return parse_json(read_text(path), name=os.fspath(path))


def json_lines(path: str | os.PathLike[str]) -> Iterator[tuple[int, str]]:
    """Number and text of every line that is not empty, of a file of JSON lines.

    Raises:
        OSError, ValueError: as `read_text`.
    """
    for number, line in enumerate(text_lines(path), start=1):
        if line.strip():
            yield number, line
