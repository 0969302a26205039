"""The files below a folder, through links but not in circles."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

logger = logging.getLogger(__name__)

_Identity = tuple[int, int]  # device and inode


def find_files(folder: Path, extensions: Sequence[str]) -> list[str]:
    """Sorted paths, relative to ``folder``, of the files with these endings at any depth.

    Hidden files and folders are passed over; links to folders are followed, but not in circles. All
    else that is left out is counted and logged once: other files, broken links, folders that may
    not be read, folders that links lead to again.

    Raises:
        OSError: the folder itself cannot be read.
    """
    endings = tuple(ending.lower() for ending in extensions)
    paths, others = list[str](), Counter[str]()
    walk = _Walk(str(folder))
    for path in walk.files("", within=(), links=0):
        if path.lower().endswith(endings):
            paths.append(path)
        else:
            others[os.path.splitext(path)[1] or "no ending"] += 1
    if paths and others:
        found = ", ".join(f"{count} x {ending}" for ending, count in others.most_common(5))
        logger.warning("%s: %d other files left out (%s)", folder, sum(others.values()), found)
    for what, names in walk.left_out.items():
        logger.warning("%s: %d %s left out (first: %s)", folder, len(names), what, names[0])
    paths.sort()
    return paths


def files_by_name(folder: Path, extensions: Sequence[str]) -> dict[str, Path]:
    """The files that `find_files` lists, by their relative paths without the ending.

    Raises:
        OSError: the folder itself cannot be read.
        ValueError: two files of one name.
    """
    found: dict[str, Path] = {}
    for path in find_files(folder, extensions):
        name = str(Path(path).with_suffix(""))
        if name in found:
            raise ValueError(f"{found[name]} and {folder / path} have one name: take one away")
        found[name] = folder / path
    return found


@dataclass
class _Walk:
    """One pass over the tree below ``root``.

    Attributes:
        seen: folders that were entered.
        left_out: what is no file and no folder to enter, by reason.
    """

    root: str
    seen: set[_Identity] = field(default_factory=set)
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def files(self, below: str, *, within: tuple[_Identity, ...], links: int) -> Iterator[str]:
        """Paths of the files in a folder and below.

        Folders that link to each other could be entered in every order. So a folder behind two or
        more links is entered only if it was not reached before.

        Args:
            below: the folder, relative to the root.
            within: the folders that it lies in, links resolved.
            links: how many links lead to it.

        Raises:
            OSError: the root cannot be read.
        """
        path = os.path.join(self.root, below)
        folders = list[tuple[str, bool]]()
        try:
            about = os.stat(path)
            identity = about.st_dev, about.st_ino
            if identity in within:
                return  # a link to a folder above itself brings nothing new
            if links > 1 and identity in self.seen:
                self._leave_out("linked folders that were reached before", path)
                return
            self.seen.add(identity)
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    kind = self._kind(entry)
                    if kind == "folder":
                        folders.append((os.path.join(below, entry.name), entry.is_symlink()))
                    elif kind == "file":
                        yield os.path.join(below, entry.name)
        except OSError as error:
            if not below:
                raise
            reason = (error.strerror or "no access").lower()
            self._leave_out(f"folders that cannot be read ({reason})", path)
        for inner, linked in sorted(folders):
            yield from self.files(inner, within=(*within, identity), links=links + linked)

    def _kind(self, entry: os.DirEntry[str]) -> str:
        try:
            if entry.is_dir():
                return "folder"
            if entry.is_file():
                return "file"
        except OSError:  # a link that leads to itself
            pass
        self._leave_out("broken links" if entry.is_symlink() else "devices or pipes", entry.path)
        return ""

    def _leave_out(self, what: str, path: str) -> None:
        self.left_out.setdefault(what, []).append(path)
