"""Pairs of images and their labels on disk: three folders with files of equal names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cmid.data.folder import IMAGE_EXTENSIONS
from cmid.data.listing import files_by_name
from cmid.data.raster_paths import RASTER_EXTENSIONS
from cmid.data.text_files import stripped_lines

FOLDERS = ("A", "B", "label")
_ENDINGS = tuple(dict.fromkeys((*IMAGE_EXTENSIONS, *RASTER_EXTENSIONS)))


class PairFiles(NamedTuple):
    """Paths of both dates and the label, and their common ``name`` below the folders."""

    first: Path
    second: Path
    label: Path
    name: str


def find_pairs(
    root: Path, *, folders: Sequence[str] = FOLDERS, names: Path | None = None
) -> list[PairFiles]:
    """Match the files of three folders by their names without the ending, at any depth.

    Args:
        root: folder above the three.
        folders: names of the first date's, the second date's and the labels' folder.
        names: list of what to take, one a line, with or without ending, in this order; by default
            everything, sorted.

    Raises:
        FileNotFoundError: a folder or the list is missing or empty, or a file has no partner;
            names the first.
        ValueError: two files of one name, or not three folders.
    """
    if len(folders) != 3:
        raise ValueError(f"folders names two dates and the labels, not {list(folders)}")
    places = [root / folder for folder in folders]
    found = [_by_name(place) for place in places]
    wanted = sorted(set().union(*found)) if names is None else _listed(names)
    for place, files in zip(places, found, strict=True):
        lacking = [name for name in wanted if name not in files]
        if lacking:
            raise FileNotFoundError(
                f"{place} lacks {len(lacking)} of {len(wanted)} names, first {lacking[0]}: each"
                f" needs a file in {', '.join(map(str, places))}"
            )
    first, second, labels = found
    return [PairFiles(first[name], second[name], labels[name], name) for name in wanted]


def _by_name(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}: check the one above it, and folders")
    found = files_by_name(folder, _ENDINGS)
    if not found:
        raise FileNotFoundError(f"{folder} holds no image ending in {', '.join(_ENDINGS)}")
    return found


def _listed(path: Path) -> list[str]:
    if not path.is_file():
        raise FileNotFoundError(f"no list {path}: see ann_file")
    names = [
        str(Path(line).with_suffix("")) if line.lower().endswith(_ENDINGS) else line
        for line in stripped_lines(path)
    ]
    if not names:
        raise ValueError(f"list {path} names no pair")
    return names
