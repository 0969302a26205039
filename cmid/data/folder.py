"""Images in folders, and images named in a list."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cmid.data.decoding import decode_image
from cmid.data.source import Image, ImageSource
from cmid.data.tables import Table
from cmid.data.text_files import stripped_lines

logger = logging.getLogger(__name__)

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp")
_PATH_COLUMNS = ("path", "filepath", "file", "image", "filename")
_LABEL_COLUMNS = ("label", "class", "category")
_PATH_THEN_LABEL = re.compile(
    rf"(?P<path>.*(?:{'|'.join(map(re.escape, IMAGE_EXTENSIONS))}))\s*[\s,]\s*(?P<label>\S.*)",
    re.IGNORECASE,
)


class _ImageFiles(ImageSource):
    """Files with labels. Paths lie in one array of bytes: forked workers do not copy it."""

    def __init__(
        self, root: Path, paths: Sequence[str], labels: Sequence[int], classes: Sequence[str]
    ) -> None:
        self.root = root
        self.paths: NDArray[np.bytes_] = np.array([os.fsencode(path) for path in paths])
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

    Hidden files and folders are left out, links are followed; files with other endings are counted
    and reported once.

    Args:
        root: the folder.
        extensions: endings of image files with the dot; upper and lower case are the same.
        labels: ``"folders"``: the first level of sub-folders names the classes, in sorted order;
            ``"none"``: no labels; ``"auto"``: folders where every image lies in a sub-folder,
            otherwise none.

    Raises:
        FileNotFoundError: the folder is missing or holds no image.
        ValueError: ``labels="folders"``, and an image lies in no sub-folder.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        extensions: Sequence[str] = IMAGE_EXTENSIONS,
        labels: Literal["auto", "folders", "none"] = "auto",
    ) -> None:
        folder = Path(root)
        if not folder.is_dir():
            raise FileNotFoundError(f"image folder {folder} does not exist")
        paths = find_files(folder, extensions)
        if not paths:
            raise FileNotFoundError(
                f"image folder {folder} holds no image ending in {', '.join(extensions)}"
            )
        top = [path.partition(os.sep)[0] if os.sep in path else "" for path in paths]
        if labels == "folders" and not all(top):
            raise ValueError(
                f"image folder {folder}: {paths[top.index('')]} lies in no class folder; move it,"
                " or set labels to none"
            )
        numbers, classes = [-1] * len(paths), list[str]()
        if labels != "none" and all(top):
            classes = sorted(set(top))
            number = {name: i for i, name in enumerate(classes)}
            numbers = [number[name] for name in top]
        super().__init__(folder, paths, numbers, classes)


def find_files(folder: Path, extensions: Sequence[str]) -> list[str]:
    """Sorted paths, relative to ``folder``, of the files with these endings at any depth.

    Other files are counted and logged once; hidden files and folders are passed over.
    """
    endings = tuple(ending.lower() for ending in extensions)
    paths, others = list[str](), Counter[str]()
    for path in _walk(str(folder), ""):
        if path.lower().endswith(endings):
            paths.append(path)
        else:
            others[os.path.splitext(path)[1] or "no ending"] += 1
    if paths and others:
        found = ", ".join(f"{count} x {ending}" for ending, count in others.most_common(5))
        logger.warning("%s: %d other files left out (%s)", folder, sum(others.values()), found)
    paths.sort()
    return paths


def _walk(root: str, below: str) -> Iterator[str]:
    with os.scandir(os.path.join(root, below)) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = os.path.join(below, entry.name)
            if not entry.is_dir():
                yield path
            elif not (entry.is_symlink() and _contains(entry.path, os.path.join(root, below))):
                yield from _walk(root, path)


def _contains(link: str, folder: str) -> bool:
    """Whether a link leads to a folder above itself: following it would never end."""
    target = os.path.realpath(link)
    return os.path.commonpath([target, os.path.realpath(folder)]) == target


class ImageList(_ImageFiles):
    """Images named in a text or CSV file.

    A ``.csv`` has a header with a column ``path`` (or ``filepath``, ``file``, ``image``,
    ``filename``) and, if there are labels, ``label`` (or ``class``, ``category``).

    Any other file has one image a line. A tab separates path and label. In a line without a tab,
    what follows the last image ending (``.jpg``, ``.png``, ...) and a comma or white space is the
    label; everything before is the path, so paths may hold spaces. A line that ends in an image
    ending, or holds none, is a path as a whole.

    Labels are all whole numbers (taken as they are), or names that are numbered in sorted order.

    Args:
        path: the list.
        root: folder that relative paths start from; by default the folder of the list.

    Raises:
        FileNotFoundError: the list does not exist, or its first image does not.
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
        folder = Path(root) if root is not None else path.parent
        # The usual mistake is the wrong root; it should not take a worker to find it.
        if not (folder / rows[0][0]).is_file():
            raise FileNotFoundError(
                f"image list {path}: its first image {folder / rows[0][0]} does not exist; set root"
            )
        labelled = [bool(label) for _, label in rows]
        if any(labelled) and not all(labelled):
            raise ValueError(
                f"image list {path}: entry {labelled.index(False) + 1} has no label, others have"
            )
        labels, classes = [-1] * len(rows), list[str]()
        if all(labelled):
            labels, classes = number_labels([label for _, label in rows])
        super().__init__(folder, [name for name, _ in rows], labels, classes)


def number_labels(labels: Sequence[str]) -> tuple[list[int], list[str]]:
    """Class indices and class names: numbers keep their value, names are numbered as sorted."""
    if all(label.isdecimal() for label in labels):
        numbers = [int(label) for label in labels]
        return numbers, [str(number) for number in range(max(numbers) + 1)]
    classes = sorted(set(labels))
    index = {name: i for i, name in enumerate(classes)}
    return [index[label] for label in labels], classes


def _text_rows(path: Path) -> list[tuple[str, str]]:
    rows = []
    for line in stripped_lines(path):
        name, _, label = line.rpartition("\t") if "\t" in line else (line, "", "")
        if not label and not line.lower().endswith(IMAGE_EXTENSIONS):
            match = _PATH_THEN_LABEL.fullmatch(line)
            name, label = match.group("path", "label") if match else (line, "")
        rows.append((name.strip(), label.strip()))
    return rows


def _csv_rows(path: Path) -> list[tuple[str, str]]:
    table = Table(path)
    header = [name.lower() for name in table.header]
    path_column = next((header.index(name) for name in _PATH_COLUMNS if name in header), None)
    label_column = next((header.index(name) for name in _LABEL_COLUMNS if name in header), None)
    if path_column is None:
        raise ValueError(
            f"image list {path}: its header {header} names none of the columns"
            f" {', '.join(_PATH_COLUMNS)}"
        )
    table.check_unique(header[i] for i in (path_column, label_column) if i is not None)
    rows = []
    for row in table.rows():
        if row.fault:
            raise ValueError(f"image list {path}: line {row.line}: {row.fault}")
        if not row.fields[path_column].strip():
            raise ValueError(f"image list {path}: line {row.line} has no path")
        label = "" if label_column is None else row.fields[label_column]
        rows.append((row.fields[path_column].strip(), label.strip()))
    return rows
