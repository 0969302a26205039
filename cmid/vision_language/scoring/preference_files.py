"""Preferences in the published files of ScoreRS: lists of JSON, and parquet (arXiv:2503.00743)."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from torch import Tensor

from cmid.data.decoding import read_image
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
_ROWS = 64  # of a parquet that are looked at together
_Place = tuple[str, int | None]  # file of an image, or a parquet and the row
_FindImage = Callable[[dict[str, Any]], _Place | None]


class PreferenceFiles(PreferenceSource):
    """Preferences of ``*.json`` and ``*.parquet`` files.

    A JSON file is a list of ``{question?, chosen, rejected, image_name | image_path}``;
    ``rejected`` is a text or a list of texts that are worse than ``chosen`` and not compared with
    each other, unless ``ranks`` (for ``chosen`` and each of ``rejected``, null where it is not
    known) says more. ``kind`` is what accuracies are told by. A row of a parquet has such an object
    as a string in its column ``text``, and ``{bytes | path}`` in its column ``image``.

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
        files = (
            sorted(f for s in _SUFFIXES for f in path.glob(f"*{s}")) if path.is_dir() else [path]
        )
        if not files or not all(file.is_file() for file in files):
            raise FileNotFoundError(
                f"no preferences in {path}: give a .json, a .parquet or a folder"
            )
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
            logger.warning(
                "%s: %d of %d preferences have no image", path, self.without_image, len(self)
            )

    def __len__(self) -> int:
        return len(self._records)

    def preferences(self, index: int) -> tuple[Preference]:
        record = self._records[index]
        candidates, ranks = tuple(record["candidates"]), tuple(record["ranks"])
        return (Preference(candidates, record["question"], ranks, record["kind"]),)

    def read(self, index: int) -> Tensor | None:
        image = self._records[index]["image"]
        if image is None:
            return None
        file, row = image
        if row is None:
            return _decode(file, file)
        return _decode(_stored_images(file, row // _ROWS)[row % _ROWS], f"{file}: row {row}")

    def _parse(self, files: list[Path], problems: Problems) -> Iterator[dict[str, Any]]:
        for file in files:
            read = self._json if file.suffix == ".json" else self._parquet
            with problems.at(file.name):
                for where, entry, find_image in read(file):
                    with problems.at(f"{file.name}, {where}"):
                        entry = _object(entry)
                        yield _record(entry, find_image(entry))

    def _json(self, file: Path) -> Iterator[tuple[str, Any, _FindImage]]:
        try:
            content = load_json(file)
        except ValueError as error:
            raise AnnotationError(f"it cannot be read ({error})") from error
        if not isinstance(content, list):
            raise AnnotationError("it is not a list of preferences")
        for number, entry in enumerate(content):
            yield f"entry {number}", entry, partial(self._named_image, self.images / file.stem)

    def _parquet(self, file: Path) -> Iterator[tuple[str, Any, _FindImage]]:
        for row, stored in enumerate(_rows(file)):
            image = stored["image"] or {}
            find: _FindImage = partial(self._named_image, self.images / file.stem)
            if image.get("bytes"):
                find = partial(_in_row, str(file), row)
            elif image.get("path"):
                find = partial(self._stored_path, image["path"])
            yield f"row {row}", stored["text"], find

    def _named_image(self, folder: Path, entry: dict[str, Any]) -> _Place | None:
        if entry.get("image_name"):
            image = folder / text_field(entry, "image_name")
        elif entry.get("image_path"):
            image = self.images / text_field(entry, "image_path")
        else:
            return None
        if not image.is_file():
            raise AnnotationError(f"its image {image} does not exist")
        return str(image), None

    def _stored_path(self, path: str, entry: dict[str, Any]) -> _Place | None:
        return self._named_image(self.images, {"image_name": path})


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    parquet = read_parquet(file)
    if missing := {"text", "image"} - set(parquet.schema_arrow.names):
        raise AnnotationError(f"it has no column {' and no '.join(sorted(missing))}")
    try:
        for batch in parquet.iter_batches(_ROWS, columns=["text", "image"]):
            yield from batch.to_pylist()
    except (OSError, ValueError) as error:
        raise AnnotationError(f"it is damaged ({error})") from error


def read_parquet(file: str | os.PathLike[str]) -> Any:
    """A parquet file of pyarrow.

    Raises:
        AnnotationError: it is damaged.
        ModuleNotFoundError: pyarrow is not installed.
    """
    try:
        from pyarrow import ArrowInvalid
        from pyarrow.parquet import ParquetFile
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "parquet files need pyarrow: pip install 'cmid[scoring]'"
        ) from error
    try:
        return ParquetFile(file)
    except (ArrowInvalid, OSError) as error:
        raise AnnotationError(f"it cannot be read ({error})") from error


@lru_cache(maxsize=8)
def _stored_images(file: str, block: int) -> list[bytes]:
    """Encoded images of some rows; training looks them up in any order."""
    parquet, first, images = read_parquet(file), block * _ROWS, list[bytes]()
    for number in range(parquet.num_row_groups):
        rows = parquet.metadata.row_group(number).num_rows
        if first < rows and len(images) < _ROWS:
            column = parquet.read_row_group(number, columns=["image"])["image"]
            part = column.slice(max(first, 0), _ROWS - len(images))
            images += [(stored or {}).get("bytes") or b"" for stored in part.to_pylist()]
        first -= rows
    return images


def _in_row(file: str, row: int, entry: Any) -> _Place:
    return file, row


def _object(entry: Any) -> dict[str, Any]:
    """An entry of a list, or of a row, which has it as text."""
    try:
        entry = json.loads(entry) if isinstance(entry, str) else entry
    except ValueError:
        raise AnnotationError(f"its text {entry[:60]!r} is not JSON") from None
    if not isinstance(entry, dict):
        raise AnnotationError(f"it is {entry!r}, not an object")
    return entry


def _record(entry: dict[str, Any], image: _Place | None) -> dict[str, Any]:
    """An entry, checked, as plain values."""
    chosen, rejected = text_field(entry, "chosen"), entry.get("rejected")
    worse = rejected if isinstance(rejected, list) else [rejected]
    texts = [text.strip() for text in worse if isinstance(text, str)]
    if not worse or len(texts) < len(worse):
        raise AnnotationError(f"its rejected is {rejected!r}, neither a text nor a list of texts")
    question, ranks = entry.get("question") or "", entry.get("ranks") or [0, *[1] * len(worse)]
    if not isinstance(question, str):
        raise AnnotationError(f"its question is {question!r}, not a text")
    if not isinstance(ranks, list) or not all(r is None or isinstance(r, int) for r in ranks):
        raise AnnotationError(f"its ranks are {ranks!r}, not a list of whole numbers and nulls")
    kind = str(entry.get("kind") or "")
    candidates = (chosen, *texts)
    Preference(candidates, question.strip(), tuple(ranks), kind)
    return {
        "candidates": candidates,
        "question": question.strip(),
        "ranks": ranks,
        "kind": kind,
        "image": image,
    }


def _decode(image: bytes | str, name: str) -> Tensor:
    pixels = read_image(image, name=name).pixels
    require_8bit(pixels, name, error=UnreadableImageError)
    return pixels
