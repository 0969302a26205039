"""Captioned images in parquet files, as Hugging Face's datasets publish them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from glob import glob
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from cmid.data.decoding import read_image
from cmid.data.source import Draws, MinSize, UnreadableImageError
from cmid.vision_language.data.columns import CAPTION_COLUMNS, PATH_COLUMNS
from cmid.vision_language.data.source import ImageText, ImageTextSource

_GROUPS_HELD = 4


def import_pyarrow() -> ModuleType:
    """pyarrow with pyarrow.parquet, or the error that says how to get it."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "parquet files need pyarrow: pip install 'cmid[scoring]'"
        ) from error
    return pyarrow


def open_parquet(path: str | os.PathLike[str]) -> Any:
    """A ``ParquetFile``; raises ValueError for what is none, FileNotFoundError for nothing."""
    parquet = import_pyarrow().parquet
    try:
        return parquet.ParquetFile(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"parquet file {path} does not exist") from None
    except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{path} is damaged or no parquet file ({reason}): copy it again"
        ) from None


class CaptionParquet(ImageTextSource):
    """Rows of an image and its caption, or list of captions, addressed at random.

    An image is bytes, ``{bytes, path}``, or a path. To read a row takes its row group, of which
    some are kept: in shuffled order, files with groups of some hundred rows are read fastest.

    Args:
        path: a file, a folder of ``*.parquet``, or a pattern with ``*``.
        root: folder that paths start from; by default that of the file.
        image_column: by default ``image`` or one of the names of `CaptionTable`.
        caption_column: by default one of the names of `CaptionTable`.

    Raises:
        FileNotFoundError: there is no such file.
        ModuleNotFoundError: pyarrow is not installed.
        ValueError: a file is damaged, or lacks a column.
    """

    has_regions = False

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        root: str | Path | None = None,  # jsonargparse's PathLike has no null
        image_column: str | None = None,
        caption_column: str | None = None,
    ) -> None:
        pattern = os.path.join(path, "*.parquet") if Path(path).is_dir() else os.fspath(path)
        self.files = [Path(name) for name in sorted(glob(pattern))] or [Path(path)]
        self.root = None if root is None else Path(root)
        groups: list[tuple[int, int, int]] = []  # file, row group, number of its first row
        digest = hashlib.sha256()
        rows = 0
        for number, file in enumerate(self.files):
            with open_parquet(file) as opened:
                names = opened.schema_arrow.names
                self.columns = (
                    _column(file, names, [image_column] if image_column else PATH_COLUMNS),
                    _column(file, names, [caption_column] if caption_column else CAPTION_COLUMNS),
                )
                about = opened.metadata
                digest.update(repr((file.name, file.stat().st_size, self.columns)).encode())
                for group in range(about.num_row_groups):
                    groups.append((number, group, rows))
                    rows += about.row_group(group).num_rows
        if not rows:
            raise ValueError(f"{path} has no row")
        self._groups = np.array([*groups, (len(self.files), 0, rows)], dtype=np.int64)
        self._digest = digest.hexdigest()
        self._held: dict[tuple[int, str], Any] = {}

    def __len__(self) -> int:
        return int(self._groups[-1, 2])

    @property
    def digest(self) -> str:
        return self._digest

    def name(self, index: int) -> str:
        group = self._group_of(index)
        file = int(self._groups[group, 0])
        first = self._groups[np.searchsorted(self._groups[:, 0], file), 2]
        return f"{self.files[file].name}:{index - int(first)}"

    def captions(self, index: int) -> tuple[str, ...]:
        """The captions of one image; raises UnreadableImageError if there is none."""
        value = self._value(index, self.columns[1])
        texts = value if isinstance(value, list) else [value]
        captions = tuple(text.strip() for text in texts if isinstance(text, str) and text.strip())
        if not captions:
            raise UnreadableImageError(f"{self.name(index)}: its {self.columns[1]} is {value!r}")
        return captions

    def decode(self, index: int, min_size: MinSize, generator: Draws) -> ImageText:
        captions = self.captions(index)
        value = self._value(index, self.columns[0])
        name = self.name(index)
        data = value.get("bytes") or value.get("path") if isinstance(value, dict) else value
        if isinstance(data, str):
            file = self.files[int(self._groups[self._group_of(index), 0])]
            data = (self.root or file.parent) / data
        if not data:
            raise UnreadableImageError(f"{name}: its {self.columns[0]} holds no image")
        return ImageText(read_image(data, name=name, min_size=min_size), captions)

    def _group_of(self, index: int) -> int:
        return int(np.searchsorted(self._groups[:, 2], index, side="right")) - 1

    def _value(self, index: int, column: str) -> Any:
        group = self._group_of(index)
        key = group, column
        if key not in self._held:
            while len(self._held) >= 2 * _GROUPS_HELD:
                self._held.pop(next(iter(self._held)))
            number, within, _ = self._groups[group].tolist()
            try:
                with open_parquet(self.files[number]) as opened:
                    # Threads of pyarrow would not survive the fork of a DataLoader's workers.
                    table = opened.read_row_group(within, columns=[column], use_threads=False)
            except (OSError, ValueError) as error:
                reason = str(error).partition("\n")[0]
                raise UnreadableImageError(f"{self.name(index)}: {reason}") from error
            self._held[key] = table.column(column)
        return self._held[key][index - int(self._groups[group, 2])].as_py()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_held": {}}


def _column(file: Path, names: Sequence[str], wanted: Sequence[str]) -> str:
    lower = {name.lower(): name for name in names}
    for name in wanted:
        if name.lower() in lower:
            return lower[name.lower()]
    raise ValueError(f"{file} has none of the columns {', '.join(wanted)}, only {', '.join(names)}")
