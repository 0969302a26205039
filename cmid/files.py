"""Files and folders reach the disk whole or not at all, and never through ``TMPDIR``."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PART = ".part"
# What the system answers where there is no room: no space, a quota, a limit of the file's size.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CUT_SHORT = re.compile(r"\d+ requested and \d+ written")


class NoRoomError(OSError):
    """A disk is full; the text is one line with the file, what it needs and what is free."""


@contextmanager
def whole_file(path: str | os.PathLike[str], *, need: int | None = None) -> Iterator[Path]:
    """Yield a temporary name beside ``path``, which gets its name once all is written.

    The folder is made. Whatever goes wrong, nothing is left, and an earlier file stays.

    Args:
        path: the file.
        need: expected size in bytes, for the message where the disk is full.

    Raises:
        NoRoomError: the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The ending is the last thing that libraries look at, so it must not be that of the file.
    partial = path.with_name(f".{path.name}.{os.getpid()}{PART}")
    try:
        yield partial
        os.replace(partial, path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, Exception) and (cause := lack_of_room(error)) is not None:
            raise full_disk(path, cause, need=need) from error
        raise


@contextmanager
def scratch_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty folder beside ``path`` that is gone afterwards, with all that is in it.

    It lies on the file system of ``path``, so that what was written can be renamed.

    Raises:
        NoRoomError: the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f".{path.name}.", suffix=PART, dir=path.parent
    ) as scratch:
        try:
            yield Path(scratch)
        except Exception as error:
            if (cause := lack_of_room(error)) is not None:
                raise full_disk(path, cause) from error
            raise


def check_new(folder: str | os.PathLike[str]) -> None:
    """Refuse a folder that holds something.

    Raises:
        FileExistsError: it exists and is not empty.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is there already: delete it, or choose another name")


@contextmanager
def new_folder(path: str | os.PathLike[str], *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside ``path`` that gets its name once all is written.

    Args:
        replace: an earlier folder, which goes once the new one is whole.

    Raises:
        FileExistsError: ``path`` exists and is not empty, and it is not to be replaced.
        NoRoomError: the disk is full.
    """
    path = Path(path)
    if not replace:
        check_new(path)
    with scratch_folder(path) as scratch:
        new = scratch / "new"
        new.mkdir()
        yield new
        if replace and path.exists():
            path.rename(scratch / "old")
        os.replace(new, path)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 text, whole or not at all; the folder is made."""
    with whole_file(path, need=len(text)) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write what JSON knows, indented, whole or not at all; the folder is made."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def lack_of_room(error: BaseException | None) -> OSError | None:
    """The error of a full disk behind an error, if that is its reason.

    Libraries that write through C++ (torch) raise something else while they handle it, others
    (safetensors, GDAL) only quote it, and numpy counts.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            return error
        for number in NO_ROOM:
            if os.strerror(number) in str(error):
                return OSError(number, os.strerror(number))
        if _CUT_SHORT.search(str(error)):
            return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        error = error.__cause__ or error.__context__
    return None


def full_disk(path: Path, cause: OSError, *, need: int | None = None) -> NoRoomError:
    """The error for a disk that is full, with the cause's number.

    Args:
        path: what could not be written; its folder exists.
        cause: what the system answered.
        need: expected size in bytes, where it is known.
    """
    free = megabytes(shutil.disk_usage(path.parent).free)
    reason = "" if cause.errno == errno.ENOSPC else f" ({os.strerror(cause.errno or 0)})"
    needs = f"it needs about {megabytes(need)}, " if need else ""
    error = NoRoomError(
        f"no room for {path}{reason}: {needs}{free} are free in {path.parent}; earlier files are"
        " whole: make room, or write elsewhere"
    )
    error.errno = cause.errno
    return error


def megabytes(size: int) -> str:
    """A number of bytes for a reader."""
    return f"{size / 1e6:.1f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"
