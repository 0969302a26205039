"""Images in folders, and images named in a list."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from cmid.data.decoding import read_image
from cmid.data.listing import find_files
from cmid.data.raster_paths import RASTER_EXTENSIONS
from cmid.data.sensors import Sensor
from cmid.data.source import Draws, Image, ImageSource, MinSize
from cmid.data.tables import Table
from cmid.data.text_files import stripped_lines

if TYPE_CHECKING:
    from cmid.data.raster_tiles import RasterTiles

__all__ = ["IMAGE_EXTENSIONS", "ImageFolder", "ImageList", "find_files", "number_labels"]

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp")
_PATH_COLUMNS = ("path", "filepath", "file", "image", "filename")
_LABEL_COLUMNS = ("label", "class", "category")
_HIGHEST_LABEL = 100_000
_PATH_THEN_LABEL = re.compile(
    rf"(?P<path>.*(?:{'|'.join(map(re.escape, IMAGE_EXTENSIONS))}))\s*[\s,]\s*(?P<label>\S.*)",
    re.IGNORECASE,
)


class _ImageFiles(ImageSource):
    """Files with labels. Paths lie in one array of bytes: forked workers do not copy it."""

    def __init__(
        self,
        root: Path,
        paths: Sequence[str],
        labels: Sequence[int],
        classes: Sequence[str],
        *,
        bands: Sequence[int | str] | None = None,
        sensor: str | Sensor | None = None,
    ) -> None:
        self.root = root
        self.tiles = open_tiles(root / paths[0], bands=bands, sensor=sensor)
        if self.tiles is not None:
            self.num_bands = self.tiles.num_bands
            self.band_names, self.sensor = self.tiles.band_names, self.tiles.sensor
            # What tells features of these bands from others, see `cmid.evaluation.identity`.
            self.bands, self.usual = self.tiles.bands, self.tiles.usual
        self.paths: NDArray[np.bytes_] = np.array([os.fsencode(path) for path in paths])
        self.labels = np.array(labels, dtype=np.int64)
        self.classes = tuple(classes)

    def __len__(self) -> int:
        return len(self.paths)

    def decode(self, index: int, min_size: MinSize, generator: Draws) -> Image:
        path = self.root / os.fsdecode(bytes(self.paths[index]))
        if self.tiles is None:
            image = read_image(path, min_size=min_size, num_bands=self.num_bands)
        else:
            image = self.tiles.read(path)
        return replace(image, label=int(self.labels[index]))


class ImageFolder(_ImageFiles):
    """All images below a folder, at any depth, in the order of their paths.

    Hidden files and folders are left out, links are followed but not in circles; files with other
    endings, broken links and closed folders are counted and reported once.

    Pictures give red, green and blue. With ``bands`` or ``sensor`` the files are rasters of any
    bands, which are read whole as `RasterWindows` reads its windows.

    Args:
        root: the folder.
        extensions: endings of image files with the dot; upper and lower case are the same. By
            default `IMAGE_EXTENSIONS`, of rasters those that `RasterWindows` looks for.
        labels: ``"folders"``: the first level of sub-folders names the classes, in sorted order
            (names that are all numbers in that of their values: 2 before 10);
            ``"none"``: no labels; ``"auto"``: folders where every image lies in a sub-folder,
            otherwise none.
        bands: which bands to read, by name, or counted from 1; ``[all]`` for all of them.
        sensor: what made the images, see `RasterWindows`.

    Raises:
        FileNotFoundError: the folder is missing or holds no image.
        ValueError: ``labels="folders"``, and an image lies in no sub-folder; or the first raster
            lacks one of ``bands``.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        extensions: Sequence[str] | None = None,
        labels: Literal["auto", "folders", "none"] = "auto",
        bands: Sequence[int | str] | None = None,
        sensor: str | Sensor | None = None,
    ) -> None:
        folder = Path(root)
        if extensions is None:
            pictures = bands is None and sensor is None
            extensions = IMAGE_EXTENSIONS if pictures else RASTER_EXTENSIONS
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
            classes = sort_classes(set(top))
            number = {name: i for i, name in enumerate(classes)}
            numbers = [number[name] for name in top]
        super().__init__(folder, paths, numbers, classes, bands=bands, sensor=sensor)


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
        bands, sensor: read rasters of any bands, see `ImageFolder`.

    Raises:
        FileNotFoundError: the list does not exist, or its first image does not.
        ValueError: it is empty, a row is incomplete, or the header lacks a path column; or the
            first raster lacks one of ``bands``.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        root: str | os.PathLike[str] | None = None,
        bands: Sequence[int | str] | None = None,
        sensor: str | Sensor | None = None,
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
        names = [name for name, _ in rows]
        super().__init__(folder, names, labels, classes, bands=bands, sensor=sensor)


def open_tiles(
    first: Path, *, bands: Sequence[int | str] | None, sensor: str | Sensor | None
) -> RasterTiles | None:
    """The reader of rasters, None where nothing asks for bands: of pictures.

    Raises:
        ValueError, ModuleNotFoundError: as `RasterTiles`.
    """
    if bands is None and sensor is None:
        return None
    from cmid.data.raster_tiles import RasterTiles  # pictures need no rasterio

    return RasterTiles(first, bands=bands, sensor=sensor)


def sort_classes(names: Iterable[str]) -> list[str]:
    """Class names in order: by value where all are numbers, by letters otherwise."""
    found = list(names)
    if all(name.isdecimal() for name in found):
        return sorted(found, key=lambda name: (int(name), name))
    return sorted(found)


def number_labels(labels: Sequence[str]) -> tuple[list[int], list[str]]:
    """Class indices and class names: numbers keep their value, names are numbered as sorted.

    Raises:
        ValueError: a number far beyond any number of classes.
    """
    if all(label.isdecimal() for label in labels):
        numbers = [int(label) for label in labels]
        if max(numbers) > _HIGHEST_LABEL:
            raise ValueError(
                f"label {max(numbers)} is too high for the number of a class: give numbers from 0"
                " on, or names"
            )
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
