"""What tells the images of a source from others, without decoding them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cmid.data.source import ImageSource
from cmid.data.splits import SubsetSource

_BLOCKS, _BLOCK = 32, 4096  # bytes of a file that tell its content


def fingerprint(source: ImageSource) -> str:
    """What names features of a source in a cache: another one, once images or labels change.

    Everything that a source knows of itself counts: options, labels, indices of a subset, where
    samples lie in their shards, the sources that it wraps. Of files, whether an image each or many
    (HDF5, tar shards, rasters), it is name, size and time of change, so that none is read.
    """
    return _hash(_parts(source, _place_and_time))


def images_digest(source: ImageSource) -> str:
    """What tells the images of a part from others; the same for copies of them at another place.

    Of image files it is their names below their folder. Of other sources it is what they know of
    their images, and of each file its size and 32 blocks of 4 kB, spread evenly: two files of one
    size differ there, and a file of 100 GB costs milliseconds. Neither its place nor its time of
    change counts, nor do labels.
    """
    try:
        return hashlib.sha256("\n".join(image_names(source)).encode()).hexdigest()
    except ValueError:
        return _hash(_parts(source, _content, without=("labels", "classes")))


def image_names(source: ImageSource) -> list[str]:
    """Names of image files below their folder.

    Raises:
        ValueError: the source has no file for each image.
    """
    if isinstance(source, SubsetSource):
        names = image_names(source.source)
        return [names[index] for index in source.indices]
    paths = getattr(source, "paths", None)
    if paths is None:
        raise ValueError("a table of labels needs image files, whose names its rows give")
    return [os.fsdecode(path) for path in paths]


def _parts(
    value: Any, of_file: Callable[[Path], str], *, without: tuple[str, ...] = ()
) -> Iterable[str]:
    """Texts that tell a value from others, down to what it holds."""
    if isinstance(value, ImageSource):
        known = {k: own for k, own in vars(value).items() if k not in without and k[0] != "_"}
        yield f"{type(value).__name__} {len(value)}"
        if (paths := known.pop("paths", None)) is not None:  # their folder itself does not count
            root = Path(known.pop("root", ""))
            for name in map(os.fsdecode, paths):
                yield f"{name} {of_file(root / name)}"
        yield from _parts(known, of_file, without=without)
    elif isinstance(value, Mapping):
        for key in sorted(value):
            yield f"{key}:"
            yield from _parts(value[key], of_file, without=without)
    elif isinstance(value, list | tuple):
        yield f"{len(value)} of"
        for each in value:
            yield from _parts(each, of_file, without=without)
    elif isinstance(value, np.ndarray):
        yield f"{value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}"
    elif isinstance(value, Path) or (isinstance(value, str) and Path(value).is_file()):
        yield of_file(Path(value))
    elif value is None or isinstance(value, int | float | str | range) or is_dataclass(value):
        yield repr(value)


def _place_and_time(path: Path) -> str:
    about = path.stat()
    return f"{path.name} {about.st_size} {about.st_mtime_ns}"


def _content(path: Path) -> str:
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for number in range(_BLOCKS):
            file.seek(max(size - _BLOCK, 0) * number // (_BLOCKS - 1))
            digest.update(file.read(_BLOCK))
    return digest.hexdigest()


def _hash(parts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{part}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()
