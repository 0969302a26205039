"""Images in folders, and images named in a list."""

from __future__ import annotations

import csv
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from cmid.data.decoding import decode_image
from cmid.data.source import Image, ImageSource

logger = logging.getLogger(__name__)

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp")
_PATH_COLUMNS = ("path", "filepath", "file", "image", "filename")
_LABEL_COLUMNS = ("label", "class", "category")


class _ImageFiles(ImageSource):
    """Files with labels. Paths lie in one array of bytes: forked workers do not copy it."""

    def __init__(
        self, root: Path, paths: Sequence[str], labels: Sequence[int], classes: Sequence[str]
    ) -> None:
        self.root = root
        self.paths = np.array([os.fsencode(path) for path in paths])
        self.labels = np.array(labels, dtype=np.int64)
        self.classes = tuple(classes)

    def __len__(self) -> int:
        return len(self.paths)

    def read(
        self,
        index: int,
        *,
        min_size: tuple[float, float] | None = None,
        generator: np.random.Generator | None = None,
    ) -> Image:
        path = self.root / os.fsdecode(bytes(self.paths[index]))
        pixels, full_size = decode_image(path, min_size=min_size, num_bands=self.num_bands)
        return Image(pixels, full_size, int(self.labels[index]), str(path))


class ImageFolder(_ImageFiles):
    """All images below a folder, at any depth, in the order of their paths.

    Where every image lies in a sub-folder, the first level of sub-folders names the classes;
    otherwise there are no labels. Hidden files and folders are left out; files with other endings
    are counted and reported once.

    Args:
        root: the folder.
        extensions: endings of image files, in lower case with the dot.

    Raises:
        FileNotFoundError: the folder is missing or holds no image.
    """

    def __init__(
        self, root: str | os.PathLike[str], *, extensions: Sequence[str] = IMAGE_EXTENSIONS
    ) -> None:
        folder = Path(root)
        if not folder.is_dir():
            raise FileNotFoundError(f"image folder {folder} does not exist")
        endings = tuple(ending.lower() for ending in extensions)
        paths, others = [], Counter[str]()
        for path in _files(str(folder), ""):
            if path.lower().endswith(endings):
                paths.append(path)
            else:
                others[os.path.splitext(path)[1] or "none"] += 1
        if not paths:
            raise FileNotFoundError(
                f"image folder {folder} holds no image ending in {', '.join(endings)}"
            )
        if others:
            found = ", ".join(f"{count} x {ending}" for ending, count in others.most_common(5))
            logger.warning("%s: %d other files left out (%s)", folder, others.total(), found)
        paths.sort()
        top = [path.split(os.sep, 1)[0] if os.sep in path else "" for path in paths]
        classes = sorted(set(top)) if all(top) else []
        number = {name: i for i, name in enumerate(classes)}
        super().__init__(folder, paths, [number.get(name, -1) for name in top], classes)


def _files(root: str, below: str) -> Iterator[str]:
    with os.scandir(os.path.join(root, below)) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = os.path.join(below, entry.name)
            if entry.is_dir():
                yield from _files(root, path)
            else:
                yield path


class ImageList(_ImageFiles):
    """Images named in a text or CSV file.

    A ``.csv`` has a header with a column ``path`` (or ``filepath``, ``file``, ``image``,
    ``filename``) and, if there are labels, ``label`` (or ``class``, ``category``). In any other
    file each line is a path; a tab may separate it from a label, so that paths may hold spaces.
    Labels are integers, or names that are numbered in sorted order.

    Args:
        path: the list.
        root: folder that relative paths start from; by default the folder of the list.

    Raises:
        FileNotFoundError: the list does not exist.
        ValueError: it is empty, a row is incomplete, or the header lacks a path column.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, root: str | os.PathLike[str] | None = None
    ) -> None:
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"image list {path} does not exist")
        rows = _csv_rows(path) if path.suffix.lower() == ".csv" else _text_rows(path)
        if not rows:
            raise ValueError(f"image list {path} names no image")
        labelled = [label is not None and label != "" for _, label in rows]
        if any(labelled) and not all(labelled):
            raise ValueError(
                f"image list {path}: entry {labelled.index(False) + 1} has no label, others have"
            )
        labels, classes = [-1] * len(rows), list[str]()
        if all(labelled):
            labels, classes = _number([str(label) for _, label in rows])
        folder = Path(root) if root is not None else path.parent
        super().__init__(folder, [name for name, _ in rows], labels, classes)


def _number(labels: list[str]) -> tuple[list[int], list[str]]:
    if all(label.isdigit() for label in labels):
        numbers = [int(label) for label in labels]
        return numbers, [str(number) for number in range(max(numbers) + 1)]
    classes = sorted(set(labels))
    index = {name: i for i, name in enumerate(classes)}
    return [index[label] for label in labels], classes


def _text_rows(path: Path) -> list[tuple[str, str | None]]:
    rows: list[tuple[str, str | None]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip():
            name, _, label = line.strip().partition("\t")
            rows.append((name.strip(), label.strip() or None))
    return rows


def _csv_rows(path: Path) -> list[tuple[str, str | None]]:
    with path.open(newline="", encoding="utf-8") as lines:
        reader = csv.DictReader(lines)
        header = {(name or "").strip().lower(): name for name in reader.fieldnames or ()}
        path_column = next((header[name] for name in _PATH_COLUMNS if name in header), None)
        label_column = next((header[name] for name in _LABEL_COLUMNS if name in header), None)
        if path_column is None:
            raise ValueError(
                f"image list {path}: its header {list(header)} names none of the columns"
                f" {', '.join(_PATH_COLUMNS)}"
            )
        rows = []
        for row in reader:
            if not row[path_column]:
                raise ValueError(f"image list {path}: line {reader.line_num} has no path")
            rows.append((row[path_column], row[label_column] if label_column else None))
        return rows
