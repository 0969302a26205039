"""What is to be compared: images, questions, true answers and candidates."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from cmid.data.decoding import read_image
from cmid.data.opening import open_source
from cmid.data.source import Draws, Image, ImageSource, MinSize, UnreadableImageError
from cmid.data.splits import SubsetSource
from cmid.data.tables import Table
from cmid.data.values import require_8bit
from cmid.vision_language.data.captions import json_rows, listed, table_rows
from cmid.vision_language.data.columns import CAPTION_COLUMNS, JSON_LINES, PATH_COLUMNS, choose
from cmid.vision_language.data.problems import (
    AnnotationError,
    OnError,
    Problems,
    load_json,
    text_field,
)
from cmid.vision_language.scoring.preference_files import read_parquet

logger = logging.getLogger(__name__)

_IMAGE_COLUMNS = ("image_path", "image_name", *PATH_COLUMNS)
_ROWS = 1024  # of Parquet that are read at a time
_TEXT_COLUMNS = ("candidates", "candidate", *CAPTION_COLUMNS)


@dataclass
class Item:
    """An image with texts to compare.

    Attributes:
        image: number of the image.
        question: what the texts answer; empty for captions.
        answer: the true answer of a closed question; None for captions and open questions.
        candidates: sources of each text; equal texts are one candidate.
    """

    image: int
    question: str = ""
    answer: str | None = None
    candidates: dict[str, list[str]] = field(default_factory=dict)

    def add(self, text: str, source: str) -> bool:
        """Add a candidate; False for an empty one."""
        text = as_utf8(text).strip()
        if text:
            self.candidates.setdefault(text, []).append(source)
        return bool(text)


def as_utf8(text: str) -> str:
    """A text that can be written: JSON may hold half a surrogate pair, which has no UTF-8."""
    return text.encode("utf-8", errors="replace").decode()


class Images:
    """Images by number, read by any thread.

    Args:
        source: where they are.
        on_error: see `survey`.
        num_workers: processes of the survey.

    Attributes:
        names, digests: of each image: path or key, and hash of its pixels; empty where it cannot be
            read.
        unreadable: a line for each of these.
    """

    def __init__(
        self, source: ImageSource, *, on_error: OnError = "error", num_workers: int = 0
    ) -> None:
        self.source = source
        self._lock = threading.Lock()  # HDF5 and tar files are read by one thread at a time
        self.names: list[str] = []
        self.digests: list[str] = []
        self.unreadable: list[str] = []
        survey: DataLoader[Any] = DataLoader(
            _Survey(source, on_error), batch_size=None, num_workers=num_workers
        )
        for name, digest in tqdm(survey, desc="images", unit="image", leave=False):
            self.names.append(name if digest else "")
            self.digests.append(digest)
            if not digest:
                self.unreadable.append(name)

    def __len__(self) -> int:
        return len(self.digests)

    def read(self, number: int) -> Tensor:
        """Pixels ``(3, H, W)`` uint8."""
        with self._lock:
            return self.source.read(number).pixels


class _Survey(Dataset[tuple[str, str]]):
    """Name and digest of each image; where it cannot be read, why, and no digest."""

    def __init__(self, source: ImageSource, on_error: OnError) -> None:
        self.source, self.on_error = source, on_error

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[str, str]:
        try:
            image = self.source.read(index)
            require_8bit(image.pixels, image.name, bands=3, error=UnreadableImageError)
        except UnreadableImageError as error:
            if self.on_error == "error":
                raise
            return str(error), ""
        shape = ",".join(map(str, image.pixels.shape))
        digest = hashlib.sha256(shape.encode() + image.pixels.contiguous().numpy().tobytes())
        return image.name, digest.hexdigest()[:32]


class _Files(ImageSource):
    def __init__(self, root: Path, paths: Sequence[str]) -> None:
        self.root, self.paths = root, paths

    def __len__(self) -> int:
        return len(self.paths)

    def decode(self, index: int, min_size: MinSize, generator: Draws) -> Image:
        return read_image(self.root / self.paths[index], min_size=min_size)


def items_of_images(path: str, *, max_images: int | None = None) -> tuple[list[Item], ImageSource]:
    """An item without candidates for each image of a path, see `cmid.data.open_source`."""
    source = open_source(path)
    count = min(len(source), max_images or len(source))
    return [Item(number) for number in range(count)], SubsetSource(source, range(count))


def items_of_file(
    path: Path,
    *,
    root: str | os.PathLike[str] | None = None,
    max_images: int | None = None,
    on_error: OnError = "error",
) -> tuple[list[Item], ImageSource, list[str]]:
    """Items with candidates from a file.

    A row (of a table, of Parquet, a line of JSON, or an object of a JSON list) names an image
    (``image_path``, ``image_name``, ``path``, ...), one text or a list (``candidates``,
    ``caption``, ``text``, ...; objects with ``text`` and ``source`` may stand in the list, or an
    object of texts by source), and may have ``question``, ``answer`` (the true answer of a closed
    question) and ``source``. Rows of one image and question are one item.

    Args:
        path: the file.
        root: folder that paths start from; None: that of the file.
        max_images: take only the first so many images.
        on_error: faulty rows: stop, or count and leave out.

    Returns:
        Items in the order of the file, their images, and lines about what was skipped.

    Raises:
        FileNotFoundError: the file or its first image does not exist.
        ModuleNotFoundError: Parquet without pyarrow.
        ValueError: a row is faulty, or there is none.
    """
    if not path.is_file():
        raise FileNotFoundError(f"file of candidates {path} does not exist")
    problems = Problems(path, on_error)
    folder = Path(root) if root is not None else path.parent
    items: dict[tuple[str, str], Item] = {}
    images: dict[str, int] = {}
    for where, row in _rows(path, problems):
        with problems.at(where):
            name, question, answer, texts = _read_row(row)
            if name not in images and len(images) == max_images:
                continue
            number = images.setdefault(name, len(images))
            item = items.setdefault((name, question), Item(number, question, answer))
            if answer is not None and answer != (item.answer or answer):
                raise AnnotationError(f"{question!r} has two true answers")
            item.answer = answer if item.answer is None else item.answer
            empty = sum(not item.add(text, source) for text, source in texts)
            problems.left_out.update({"empty candidates": empty} if empty else {})
    problems.report()
    if not items:
        raise ValueError(f"{path} names no image with candidates")
    first = folder / next(iter(images))
    if not first.is_file():
        raise FileNotFoundError(
            f"{path}: its first image {first} does not exist; name the folder of the images with"
            " --images"
        )
    lines = [f"{count} x {reason} in {path}" for reason, count in problems.left_out.items()]
    return [*items.values()], _Files(folder, [*images]), [*problems.skipped, *lines]


def _rows(path: Path, problems: Problems) -> Iterator[tuple[str, dict[str, Any]]]:
    ending = path.suffix.lower()
    if ending in JSON_LINES:
        yield from json_rows(path, problems)
    elif ending == ".json":
        content = load_json(path)
        if not isinstance(content, list):
            raise ValueError(f"{path} is no JSON list of objects")
        for number, row in enumerate(content):
            with problems.at(f"[{number}]"):
                if not isinstance(row, dict):
                    raise AnnotationError("it is not an object")
                yield f"[{number}]", {name.lower(): value for name, value in row.items()}
    elif ending == ".parquet":
        with problems.at("rows"):
            yield from _parquet_rows(path)
    else:
        yield from table_rows(Table(path), problems)


def _parquet_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    number, parquet = 0, read_parquet(path)
    try:
        for batch in parquet.iter_batches(_ROWS):
            for row in batch.to_pylist():
                yield f"row {number}", {name.lower(): value for name, value in row.items()}
                number += 1
    except (OSError, ValueError) as error:  # those of pyarrow
        raise AnnotationError(f"it cannot be read from row {number} on ({error})") from error


def _read_row(row: dict[str, Any]) -> tuple[str, str, str | None, list[tuple[str, str]]]:
    name = text_field(row, choose(row, _IMAGE_COLUMNS))
    question, answer = (_optional(row, column) for column in ("question", "answer"))
    if answer and not question:
        raise AnnotationError("it has an answer and no question")
    column = choose(row, _TEXT_COLUMNS)
    given, source = row[column], _optional(row, "source") or "file"
    if isinstance(given, dict):
        given = [{"text": text, "source": each} for each, text in given.items()]
    texts = []
    for entry in listed(given):
        own = entry if isinstance(entry, dict) else {"text": entry}
        text = own.get("text")
        if not isinstance(text, str):
            raise AnnotationError(f"its {column} holds {json.dumps(text, default=str)}, no text")
        texts.append((text, str(own.get("source") or source)))
    return name, question, answer or None, texts


def _optional(row: dict[str, Any], column: str) -> str:
    value = row.get(column)
    if value is None or value != value:  # NaN: an empty field of Parquet
        return ""
    if not isinstance(value, str | int | float):
        raise AnnotationError(f"its {column} is {value!r}, no text")
    return as_utf8(str(value)).strip()
