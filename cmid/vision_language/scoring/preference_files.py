"""Preferences in the published files of ScoreRS: lists of JSON, and parquet (arXiv:2503.00743)."""

from __future__ import annotations

import io
import json
import logging
import os
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

from torch import Tensor

from cmid.data.decoding import decode_image
from cmid.data.source import UnreadableImageError
from cmid.data.values import require_8bit
from cmid.vision_language.data.files import PackedRecords
from cmid.vision_language.data.problems import (
    AnnotationError,
    OnError,
    Problems,
    load_json,
    text_field,
)
from cmid.vision_language.scoring.preferences import Preference, PreferenceSource

logger = logging.getLogger(__name__)

_SUFFIXES = (".json", ".parquet")


class PreferenceFiles(PreferenceSource):
    """Preferences of ``*.json`` and ``*.parquet`` files.

    A JSON file is a list of ``{question?, chosen, rejected, image_name | image_path}``; ``rejected``
    is a text or a list of texts, which are worse than ``chosen`` and not compared with each other,
    unless ``ranks`` (one for ``chosen`` and each of ``rejected``, null where it is not known) says
    more. ``kind`` is what accuracies are told by. A row of a parquet has such an object as a string
    in its column ``text``, and ``{bytes | path}`` in its column ``image``.

    Images of ``x.json`` lie in ``IMAGES/x/``, by ``image_name``; an ``image_path`` starts from
    ``IMAGES``. An entry that names no image is text alone, and is counted; one whose image is
    missing is faulty.

    Args:
        path: a file, or a folder of files.
        images: folder of the images; by default the folder of the files.
        on_error: ``error`` stops at the first faulty entry or file; ``skip`` counts them.

    Attributes:
        skipped: one line for every entry or file that is faulty and was skipped.
        without_image: number of preferences between mere texts.

    Raises:
        FileNotFoundError: no such file or folder, or none in it.
        ModuleNotFoundError: parquet without pyarrow.
        ValueError: a faulty entry or file, or no preference at all.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        images: str | os.PathLike[str] | None = None,
        on_error: OnError = "error",
    ) -> None:
        path = Path(path)
        files = sorted(f for s in _SUFFIXES for f in path.glob(f"*{s}")) if path.is_dir() else [path]
        if not files or not all(file.is_file() for file in files):
            raise FileNotFoundError(f"no preferences in {path}: give a .json, a .parquet or a folder")
        self.images = Path(images) if images is not None else files[0].parent
        problems = Problems(path, on_error)
        self._records = PackedRecords(self._parse(files, problems))
        self.skipped = tuple(problems.skipped)
        problems.report()
        if not len(self):
            raise ValueError(f"{path} holds no preference")
        records = (self._records[k] for k in range(len(self)))
        self.without_image = sum(record["image"] is None for record in records)
        if self.without_image:
            logger.warning("%s: %d of %d preferences have no image", path, self.without_image, len(self))

    def __len__(self) -> int:
        return len(self._records)

    def preference(self, index: int) -> Preference:
        record = self._records[index]
        return Preference(
            tuple(record["candidates"]),
            record["question"],
            tuple(record["ranks"]),
            record["kind"],
            has_image=record["image"] is not None,
        )

    def read(self, index: int) -> Tensor | None:
        image = self._records[index]["image"]
        if image is None:
            return None
        file, row = image
        if row is None:
            return _decode(file, file)
        name = f"{file}: row {row}"
        stored = _images_around(file, *_group_of(file, row))[row - _group_of(file, row)[1]]
        return _decode(io.BytesIO(stored["bytes"]), name)

    def _parse(self, files: list[Path], problems: Problems) -> Iterator[dict[str, Any]]:
        for file in files:
            with problems.at(file.name):
                read = self._json if file.suffix == ".json" else self._parquet
                for where, entry, image in read(file):
                    with problems.at(f"{file.name}, {where}"):
                        yield _record(entry, image(entry))

    def _json(self, file: Path) -> Iterator[tuple[str, Any, Any]]:
        try:
            content = load_json(file)
        except ValueError as error:
            raise AnnotationError(f"it is not JSON ({error})") from error
        if not isinstance(content, list):
            raise AnnotationError("it is not a list of preferences")
        for number, entry in enumerate(content):
            yield f"entry {number}", entry, lambda e: self._named_image(e, self.images / file.stem)

    def _named_image(self, entry: dict[str, Any], folder: Path) -> tuple[str, None] | None:
        if entry.get("image_name"):
            image = folder / text_field(entry, "image_name")
        elif entry.get("image_path"):
            image = self.images / text_field(entry, "image_path")
        else:
            return None
        if not image.is_file():
            raise AnnotationError(f"its image {image} does not exist")
        return str(image), None

    def _parquet(self, file: Path) -> Iterator[tuple[str, Any, Any]]:
        texts = _read_texts(file)
        for row, (text, has_bytes, path) in enumerate(texts):
            where = f"row {row}"
            try:
                entry = json.loads(text or "")
            except ValueError:
                entry = None  # named as an entry that is no object
            yield where, entry, self._stored_image(file, row, has_bytes, path)

    def _stored_image(self, file: Path, row: int, has_bytes: bool, path: str | None) -> Any:
        def find(entry: dict[str, Any]) -> tuple[str, int | None] | None:
            if has_bytes:
                return str(file), row
            return self._named_image({"image_path": path} if path else entry, self.images / file.stem)

        return find


def _record(entry: Any, image: tuple[str, int | None] | None) -> dict[str, Any]:
    """An entry, checked, as plain values."""
    chosen, rejected = text_field(entry, "chosen"), entry.get("rejected")
    worse = rejected if isinstance(rejected, list) else [rejected]
    if not worse or not all(isinstance(text, str) for text in worse):
        raise AnnotationError(f"its rejected is {rejected!r}, neither a text nor a list of texts")
    question, ranks = entry.get("question") or "", entry.get("ranks") or [0] + [1] * len(worse)
    if not isinstance(question, str):
        raise AnnotationError(f"its question is {question!r}, not a text")
    if not isinstance(ranks, list) or not all(r is None or isinstance(r, int) for r in ranks):
        raise AnnotationError(f"its ranks are {ranks!r}, not a list of whole numbers and nulls")
    kind = str(entry.get("kind") or "")
    candidates = (chosen, *(text.strip() for text in worse))
    Preference(candidates, question.strip(), tuple(ranks), kind)
    return {
        "candidates": candidates,
        "question": question.strip(),
        "ranks": ranks,
        "kind": kind,
        "image": image,
    }


def _decode(image: Any, name: str) -> Tensor:
    pixels, _ = decode_image(image, min_size=None, num_bands=3)
    require_8bit(pixels, name, error=UnreadableImageError)
    return pixels
