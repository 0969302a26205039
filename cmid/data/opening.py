"""From a path to the source that reads it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cmid.data.source import ImageSource

ACCEPTED = (
    "a folder of images, a .txt/.csv list, an .h5/.hdf5 file, .tar shards (also"
    " 'name-{000..009}.tar'), rasters with window=..., or 'scenes'"
)


def open_source(path: str | os.PathLike[str], **options: Any) -> ImageSource:
    """Open images by their path.

    Args:
        path: see `ACCEPTED`; ``scenes`` are generated ones.
        **options: of the source that is chosen; ``window`` chooses `RasterWindows`.

    Raises:
        ValueError: nothing reads this path.
    """
    text = os.fspath(path)
    ending = Path(text).suffix.lower()
    if "window" in options:
        from cmid.data.raster import RasterWindows

        return RasterWindows(text, **options)
    if text == "scenes":
        from cmid.data.scenes import SceneSource

        return SceneSource(**options)
    if Path(text).is_dir():
        from cmid.data.folder import ImageFolder

        return ImageFolder(text, **options)
    if ending in (".txt", ".csv"):
        from cmid.data.folder import ImageList

        return ImageList(text, **options)
    if ending in (".h5", ".hdf5"):
        from cmid.data.hdf5 import HDF5Images

        return HDF5Images(text, **options)
    if ending == ".tar":
        from cmid.data.tar_shards import TarShards

        return TarShards(text, **options)
    raise ValueError(f"cannot open {text}: give {ACCEPTED}")
