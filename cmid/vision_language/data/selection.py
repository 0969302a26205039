"""A view of a source: the texts that a filter kept, read from where they lie."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cmid.data.source import Draws, MinSize
from cmid.vision_language.data.joined import JoinedTexts
from cmid.vision_language.data.parquet import open_parquet
from cmid.vision_language.data.source import ImageText, ImageTextSource

METADATA = b"cmid"  # key of the file's metadata
_READ = ["source", "index", "text", "kept"]


class NothingKeptError(ValueError):
    """A selection that leaves nothing of a source."""


class SelectedTexts(ImageTextSource):
    """The images of a source that have a text a selection keeps, with those texts, in its order.

    Nothing is copied: 20 bytes are held a kept text. Regions of kept images stay.

    Args:
        source: what the selection was made of, opened with the same options.
        selection: file of ``tools/filter_pairs.py``.

    Raises:
        FileNotFoundError: there is no such file.
        ModuleNotFoundError: pyarrow is not installed.
        ValueError: it is damaged or no selection, was made of another source, or keeps nothing.
    """

    def __init__(self, source: ImageTextSource, selection: str | os.PathLike[str]) -> None:
        self.source = source
        self.has_regions = source.has_regions
        self.selection = Path(selection)
        with open_parquet(selection) as file:
            number = _number_of(source, self.selection, read_metadata(file, self.selection))
            parts = [_kept(file, group, number) for group in range(file.num_row_groups)]
        index, text = (np.concatenate(column) for column in zip(*parts, strict=True))
        if not len(index):
            raise NothingKeptError(f"{selection} keeps no text of this source: raise --keep")
        self.indices, starts = np.unique(index, return_index=True)
        self._starts = np.append(starts, len(index))
        self._texts = text

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def digest(self) -> str:
        digest = hashlib.sha256(self.source.digest.encode())
        for array in (self.indices, self._starts, self._texts):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def name(self, index: int) -> str:
        return self.source.name(int(self.indices[index]))

    def captions(self, index: int) -> tuple[str, ...]:
        return self._chosen(index, self.source.captions(int(self.indices[index])))

    def decode(self, index: int, min_size: MinSize, generator: Draws) -> ImageText:
        own = int(self.indices[index])
        item = self.source.read(own, min_size=min_size, generator=generator)
        return replace(item, captions=self._chosen(index, item.captions))

    def _chosen(self, index: int, captions: Sequence[str]) -> tuple[str, ...]:
        return tuple(
            captions[k] for k in self._texts[self._starts[index] : self._starts[index + 1]]
        )


def through(source: ImageTextSource, selection: str | os.PathLike[str]) -> ImageTextSource:
    """A source, or those of several joined ones of which something is kept, as selected.

    Raises:
        FileNotFoundError, ModuleNotFoundError, ValueError: as `SelectedTexts`.
    """
    if not isinstance(source, JoinedTexts):
        return SelectedTexts(source, selection)
    views = []
    for each in source.sources:
        with suppress(NothingKeptError):
            views.append(through(each, selection))
    if not views:
        raise NothingKeptError(f"{selection} keeps nothing: raise --keep")
    return JoinedTexts(views)


def read_metadata(file: Any, path: Path) -> dict[str, Any]:
    """What a selection says of itself; raises ValueError where the file is none."""
    stored = (file.schema_arrow.metadata or {}).get(METADATA)
    if stored is None:
        raise ValueError(f"{path} is no selection: make one with tools/filter_pairs.py")
    return json.loads(stored)


def _number_of(source: ImageTextSource, path: Path, metadata: dict[str, Any]) -> int:
    digest = source.digest
    for number, known in enumerate(metadata["sources"]):
        if known["digest"] == digest:
            return number
    names = ", ".join(f"{s['name']} ({s['images']} images)" for s in metadata["sources"])
    raise ValueError(
        f"{path} was made of {names}, which is not this source of {len(source)} images: open it"
        " with the same options and unchanged files, or filter it anew"
    )


def _kept(file: Any, group: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Image and text numbers of a row group; one is in memory at a time."""
    table = file.read_row_group(group, columns=_READ, use_threads=False)
    source, index, text, kept = (table.column(name).to_numpy() for name in _READ)
    chosen = kept.astype(bool) & (source == number)
    return index[chosen].astype(np.int64), text[chosen].astype(np.int32)
