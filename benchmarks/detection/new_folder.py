"""Folders that appear on the disk whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cmid.files import scratch_folder


def check_new(out: Path) -> None:
    """Refuse a folder that holds something.

    Raises:
        FileExistsError: ``out`` exists and is not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} is there already: delete it, or choose another name")


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``out`` that gets its name once all is written.

    Raises:
        FileExistsError: ``out`` exists and is not empty.
    """
    check_new(out)
    with scratch_folder(out) as scratch:
        folder = scratch / "part"
        folder.mkdir()
        yield folder
        os.replace(folder, out)
