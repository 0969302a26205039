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
    """Files of a path, a folder, a pattern or a list of these; raises FileNotFoundError.

    A product of Sentinel-2 (``.SAFE``) counts as a file, and so does a sub-dataset.
    """
    entries = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    found: list[str] = []
    for entry in (os.fspath(path) for path in entries):
        if Path(entry).is_dir():
            files = [os.path.join(entry, p) for p in find_files(Path(entry), RASTER_EXTENSIONS)]
            found += dict.fromkeys(map(_product, files))
        else:
            found += [entry] if on_disk(entry).is_file() else sorted(glob(entry, recursive=True))
    if not found:
        raise FileNotFoundError(
            f"no raster at {', '.join(map(str, entries))}: give files, a folder with"
            f" {', '.join(RASTER_EXTENSIONS)}, or a pattern"
        )
    return found


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
