"""The folder of a training run: which one it is, to whom it belongs, and what lies in it."""

from __future__ import annotations

import json
import os
import re
import uuid
from dataclasses import asdict, dataclass
from glob import escape
from pathlib import Path

import yaml

from cmid.claimed_folder import ClaimedFolder, FolderInUseError
from cmid.files import write_json

IDENTITY = "run.json"
CHECKPOINTS = "checkpoints"
CHECKPOINT_NAME = re.compile(r"step-(\d+)(-v\d+)?\.ckpt")


@dataclass(frozen=True)
class Identity:
    """What a run folder says about itself, in ``run.json``; nothing in it is a path.

    Attributes:
        run: name of the folder that was asked for.
        number: 1 for that very folder, 2 for ``run-2``, ...
        family: common to a run and the numbered ones that were started after it.
    """

    run: str
    number: int
    family: str

    @property
    def folder_name(self) -> str:
        return self.run if self.number == 1 else f"{self.run}-{self.number}"


def new_run_folder(run_dir: str | os.PathLike[str]) -> ClaimedFolder:
    """Claim a folder, or ``run_dir-2``, ``-3``, ... where it holds checkpoints or is in use.

    The folder says afterwards to which run it belongs. A numbered folder that somebody else
    made is left alone.

    Raises:
        ValueError: it cannot be written to.
    """
    asked = _named(run_dir)
    number = 0
    while True:
        number += 1
        path = asked if number == 1 else asked.with_name(f"{asked.name}-{number}")
        own = identity(path)
        if _has_checkpoints(path) or (number > 1 and own is None and _holds_something(path)):
            continue
        try:
            folder = ClaimedFolder(path, signs=(IDENTITY,))
        except FolderInUseError:
            continue
        if _has_checkpoints(path):  # another process was there in the meantime
            folder.release()
            continue
        first = identity(asked) if number > 1 else None
        family = first.family if first and first.family else uuid.uuid4().hex
        try:
            _introduce(path, Identity(asked.name, number, family), own)
        except BaseException:
            folder.release()
            raise
        return folder


def identity(path: Path) -> Identity | None:
    """What a run folder says about itself.

    Runs of earlier versions left no ``run.json``; the configuration that they kept names the
    folder that was asked for.
    """
    try:
        return Identity(**json.loads((path / IDENTITY).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        pass
    for config in sorted(path.glob("*/version_0/config.yaml")):
        try:
            asked = Path(str(yaml.safe_load(config.read_text(encoding="utf-8"))["run_dir"])).name
        except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
            continue
        number = path.name.removeprefix(f"{asked}-")
        if path.name == asked or number.isdecimal():
            return Identity(asked, int(number) if path.name != asked else 1, "")
    return None


def family_of(run_dir: str | os.PathLike[str]) -> list[Path]:
    """A run's folder and the numbered ones that were made after it, the newest first.

    Neither ``run-50ep`` nor a ``run-2`` that somebody named so belongs to it.
    """
    asked = _named(run_dir)
    first = identity(asked)
    found: list[tuple[int, Path]] = []
    for path in asked.parent.glob(f"{escape(asked.name)}-*"):
        own = identity(path)
        if own is None or own.run != asked.name or own.folder_name != path.name or own.number < 2:
            continue
        if first is None or not first.family or not own.family or own.family == first.family:
            found.append((own.number, path))
    return [path for _, path in sorted(found, reverse=True)] + [asked]


def checkpoints_in(run_dir: Path) -> list[Path]:
    """Checkpoints of one run folder, that of the last step first."""
    steps = {path: step_of(path) for path in run_dir.glob(f"{CHECKPOINTS}/step-*.ckpt")}
    known = [path for path, step in steps.items() if step is not None]
    return sorted(known, key=lambda path: (steps[path], path.name), reverse=True)


def newest_checkpoints(run_dir: str | os.PathLike[str]) -> list[Path]:
    """Checkpoints of a run: of the run that was started last, that of the last step first."""
    return [path for folder in family_of(run_dir) for path in checkpoints_in(folder)]


def step_of(checkpoint: Path) -> int | None:
    """The optimizer step in a checkpoint's name, ``None`` where it has another name."""
    match = CHECKPOINT_NAME.fullmatch(checkpoint.name)
    return int(match.group(1)) if match else None


def home_of(checkpoint: Path) -> Path | None:
    """The run folder that a checkpoint lies in, wherever that is now."""
    folder = checkpoint.absolute().parent
    return folder.parent if folder.name == CHECKPOINTS else None


def folder_to_go_on_in(checkpoint: Path, run_dir: Path, *, stated: bool) -> Path | None:
    """Where a run goes on from a checkpoint; ``None``: in a new folder for ``run_dir``.

    Args:
        checkpoint: a file.
        run_dir: the folder of the configuration.
        stated: True if the user gave it along with the checkpoint.
    """
    home = home_of(checkpoint)
    if home is None:
        return None
    for folder in family_of(run_dir):
        if folder.exists() and folder.samefile(home):
            return folder
    if stated or (identity(home) is None and not any(home.glob("*/version_*"))):
        return None
    return home


def _named(run_dir: str | os.PathLike[str]) -> Path:
    path = Path(run_dir)
    return path if path.name not in ("", "..") else path.resolve()


def _has_checkpoints(path: Path) -> bool:
    return any(path.glob(f"{CHECKPOINTS}/*.ckpt"))


def _holds_something(path: Path) -> bool:
    return path.exists() and (not path.is_dir() or any(path.iterdir()))


def _introduce(path: Path, new: Identity, old: Identity | None) -> None:
    """Write ``run.json``, but for a folder that has one that still holds."""
    if old is not None and (old.run, old.number) == (new.run, new.number) and old.family:
        return
    write_json(path / IDENTITY, asdict(new))
