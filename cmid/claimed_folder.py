"""A folder that one process at a time writes to."""

from __future__ import annotations

import errno
import os
import shutil
import socket
from pathlib import Path
from typing import IO

from cmid.files import PART

try:
    import fcntl
except ModuleNotFoundError:  # Windows has no such locks: two runs at once share a folder there
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"


class FolderInUseError(ValueError):
    """Another process is at work in a folder."""


class ClaimedFolder:
    """A folder that this process alone writes to, until it releases it or ends.

    It is made where it is missing, locked, and cleared of what a killed process left half-written.
    The lock belongs to the process, not to its children (workers that outlive it hold nothing),
    and ends with it, however it ends.

    Args:
        path: the folder.
        signs: names of files that alone do not make a folder worth keeping.
        option: how a user chooses another folder, for messages.

    Raises:
        FolderInUseError: another process has it.
        ValueError: it cannot be written to.
    """

    def __init__(
        self, path: Path, *, signs: tuple[str, ...] = (), option: str = "--run_dir"
    ) -> None:
        self.path = path
        self._signs = {LOCK, *signs}
        self._made = _missing(path)
        self._lock: IO[str] | None = None
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(path, option)
            for folder in (entry for entry in path.iterdir() if entry.is_dir()):
                if not os.access(folder, os.W_OK):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
            if self._lock is not None:
                self._clear_leftovers()
        except OSError as error:
            self.release()
            reason = "it is a file" if path.is_file() else os.strerror(error.errno or 0)
            raise ValueError(
                f"the run folder {path} cannot be written to ({reason}): give another {option}"
            ) from error

    def __enter__(self) -> ClaimedFolder:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def keep(self) -> None:
        """Let the folder stay, even if nothing is written to it."""
        self._made = []

    def release(self) -> None:
        """Let others write to it; a folder that was made here and has nothing in it goes away."""
        made, self._made = self._made, []
        try:
            empty = {entry.name for entry in self.path.iterdir()} <= self._signs
        except OSError:
            empty = False
        for name in self._signs - {LOCK} if made and empty else ():
            (self.path / name).unlink(missing_ok=True)
        if self._lock is not None:
            (self.path / LOCK).unlink(missing_ok=True)
            self._lock.close()
            self._lock = None
        for folder in made:
            try:
                folder.rmdir()
            except OSError:  # not empty, or never made
                continue

    def _clear_leftovers(self) -> None:
        for left in (*self.path.glob(f"*{PART}"), *self.path.glob(f"*/*{PART}")):
            shutil.rmtree(left) if left.is_dir() else left.unlink()


def _missing(path: Path) -> list[Path]:
    """The folders that have to be made, the innermost first."""
    missing = []
    for folder in (path, *path.parents):
        if os.path.lexists(folder):
            break
        missing.append(folder)
    return missing


def _lock(path: Path, option: str) -> IO[str] | None:
    """The locked file; ``None``: no locks on this disk."""
    while True:
        file = (path / LOCK).open("a+", encoding="utf-8")
        try:
            if fcntl is None:
                raise OSError("no locks on this system")
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise FolderInUseError(
                    f"{path} is in use by {_owner(path)}: wait for its end, or give another"
                    f" {option}"
                ) from None
            (path / LOCK).unlink(missing_ok=True)
            return None
        try:
            if os.fstat(file.fileno()).st_ino == (path / LOCK).stat().st_ino:
                break
        except FileNotFoundError:  # its owner released it between our two calls
            pass
        file.close()
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()
    return file


def _owner(path: Path) -> str:
    try:
        return (path / LOCK).read_text(encoding="utf-8") or "another process"
    except OSError:
        return "another process"
