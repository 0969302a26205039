"""Which rasters a path stands for: files, products in folders, parts of files."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from glob import glob
from pathlib import Path

from cmid.data.listing import find_files

RASTER_EXTENSIONS = (".tif", ".tiff", ".vrt", ".img", ".jp2")
# A variable of a file with several, as GDAL names it.
_SUBDATASET = re.compile(r"(?:netcdf|hdf5):\"?(.+?)\"?:/*[^/:].*", re.IGNORECASE)


def find_rasters(paths: str | os.PathLike[str] | Sequence[str]) -> list[str]:
    """Files of a path, a folder, a pattern or a list of these.

    A product of Sentinel-2 (``.SAFE``) counts as a file, and so does a sub-dataset.

    Raises:
        FileNotFoundError: there is none, or none at one of the entries of a list.
    """
    entries = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    found: list[str] = []
    for entry in (os.fspath(path) for path in entries):
        if Path(entry).is_dir():
            files = [os.path.join(entry, p) for p in find_files(Path(entry), RASTER_EXTENSIONS)]
            here = [*dict.fromkeys(map(_product, files))]
        else:
            here = [entry] if on_disk(entry).is_file() else sorted(glob(entry, recursive=True))
        if not here:
            raise _no_raster(entry)
        found += here
    if not found:
        raise _no_raster("an empty list")
    return found


def _no_raster(place: str) -> FileNotFoundError:
    return FileNotFoundError(
        f"no raster at {place}: give files, a folder with {', '.join(RASTER_EXTENSIONS)}, or a"
        " pattern"
    )


def _product(path: str) -> str:
    """The product of Sentinel-2 that a file lies in, else the file itself."""
    folders = [os.fspath(folder) for folder in Path(path).parents]
    return next((folder for folder in folders if is_safe(folder)), path)


def is_safe(path: str) -> bool:
    """Whether a path is that of a product of Sentinel-2, a folder that is one raster."""
    return path.rstrip("/").lower().endswith(".safe")


def on_disk(path: str) -> Path:
    """The file or folder of a raster, also of a sub-dataset."""
    found = _SUBDATASET.fullmatch(path)
    return Path(found[1] if found else path)
