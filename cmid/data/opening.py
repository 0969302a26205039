"""From a path to the source that reads it."""

from __future__ import annotations

import os
from glob import has_magic
from pathlib import Path
from typing import Any

# Its classes are imported on use: a folder of JPEGs should open without h5py and webdataset.
from cmid import data
from cmid.data.raster_paths import RASTER_EXTENSIONS
from cmid.data.source import ImageSource

ACCEPTED = (
    "a folder of images, a .txt/.csv list, an .h5/.hdf5 file, .tar shards (also"
    " 'name-{000..009}.tar'), a .tif/.tiff/.vrt/.img/.jp2 raster, any raster, folder or pattern of"
    " rasters with window, or 'scenes'"
)


def open_source(path: str | os.PathLike[str], **options: Any) -> ImageSource:
    """Open images by their path: `ACCEPTED` says what there is.

    Args:
        path: what to open; ``scenes`` are generated ones.
        **options: of the class that is chosen. ``window``, ``bands`` or ``sensor`` choose
            `RasterWindows`, so that a folder of GeoTIFFs is cut into windows instead of being read
            as whole images.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: nothing reads this path.
    """
    text = os.fspath(path)
    ending = Path(text).suffix.lower()
    if text == "scenes":
        return data.SceneSource(**options)
    if ending == ".tar":
        return data.TarShards(text, **options)
    if not has_magic(text) and not Path(text).exists():
        raise FileNotFoundError(f"{text} does not exist")
    raster = not Path(text).is_dir() and text.lower().endswith(RASTER_EXTENSIONS)
    if raster or {"window", "bands", "sensor"} & {*options}:
        return data.RasterWindows(text, **options)
    if Path(text).is_dir():
        return data.ImageFolder(text, **options)
    if ending in (".txt", ".csv"):
        return data.ImageList(text, **options)
    if ending in (".h5", ".hdf5"):
        return data.HDF5Images(text, **options)
    raise ValueError(f"cannot open {text}: give {ACCEPTED}")
