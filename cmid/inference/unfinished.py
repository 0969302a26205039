"""Parts of a result on disk until all are there, so that work that was interrupted goes on."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmid.files import whole_file, write_text

logger = logging.getLogger(__name__)


class Unfinished:
    """The folder ``OUT/unfinished``: arrays by name and number, of one job.

    Args:
        out: folder of the result.
        job: what the result depends on, of JSON types.
        names: of the arrays that each part has.
        count: how many parts there will be.
        resume: go on with the parts of the same job.

    Attributes:
        folder: where they lie. first: number of the first part that is missing.

    Raises:
        FileExistsError: parts lie there, and the work is not to be resumed.
        ValueError: they are of another job.
    """

    def __init__(
        self,
        out: Path,
        job: Mapping[str, Any],
        *,
        names: Sequence[str],
        count: int,
        resume: bool,
    ) -> None:
        self.folder = out / "unfinished"
        self.names = tuple(names)
        record, said = self.folder / "job.json", json.dumps(job, indent=2, sort_keys=True)
        if record.exists() and not resume:
            raise FileExistsError(
                f"{self.folder} holds strips of a map that was not finished: go on with --resume,"
                " or delete it"
            )
        if record.exists() and record.read_text() != said:
            before, now = json.loads(record.read_text()), json.loads(said)
            keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
            raise ValueError(
                f"{self.folder} is of a map with another {', '.join(keys)}: repeat the command that"
                " began it, or delete it"
            )
        write_text(record, said)
        self.first = 0
        while all(self._path(name, self.first).exists() for name in self.names):
            self.first += 1
        if self.first:
            logger.info("%d of %d strips of tiles were there already", self.first, count)

    def save(self, number: int, arrays: Iterable[NDArray[Any]]) -> None:
        """Keep a part: an array for each name."""
        for name, array in zip(self.names, arrays, strict=True):
            with whole_file(self._path(name, number)) as path, path.open("wb") as file:
                np.save(file, array)

    def load(self, name: str, number: int) -> NDArray[Any]:
        """An array of a part."""
        return np.load(self._path(name, number))

    def remove(self) -> None:
        """Delete all parts: the result is there."""
        shutil.rmtree(self.folder)

    def _path(self, name: str, number: int) -> Path:
        return self.folder / f"{name}-{number:06}.npy"
