"""Virtual rasters (GDAL's VRT): whether the files that they are made of are there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from xml.etree import ElementTree

_ENDING = ".vrt"
_SOURCES = ("SourceFilename", "SourceDataset")


def missing_source(path: str) -> str | None:
    """A file that a virtual raster, or one that it is made of, names and that is not there.

    GDAL reads 0 or nodata in its place. Names that are no plain files, such as those of
    sub-datasets and of archives, are not looked at.
    """
    waiting, seen = [path], {path}
    while waiting:
        for source in _sources(waiting.pop()):
            if source in seen:
                continue
            seen.add(source)
            if not os.path.exists(source):
                return source
            waiting.append(source)
    return None


def _sources(path: str) -> Iterator[str]:
    """Plain files that a virtual raster names; none of any other file."""
    if not path.lower().endswith(_ENDING) or not os.path.isfile(path):
        return
    try:
        for _, element in ElementTree.iterparse(path):
            if element.tag in _SOURCES and (name := (element.text or "").strip()):
                if element.get("relativeToVRT") == "1":
                    name = os.path.join(os.path.dirname(path), name)
                if ":" not in name[2:] and not name.startswith(("/vsi", "<")):
                    yield os.path.normpath(name)
            element.clear()
    except ElementTree.ParseError:
        return  # GDAL has words for that
