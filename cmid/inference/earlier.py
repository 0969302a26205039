"""Earlier results in a folder: what they were made of, so that none of other scenes is lost."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cmid.data.rasters import geo_module, one_line_errors, opened

# A tag of every map, and an entry of the metadata of every vector layer: the job as JSON.
JOB_TAG = "CMID_JOB"


def refuse_other(path: Path, job: Mapping[str, Any]) -> None:
    """Raise ValueError where something else than an earlier result of these scenes would be lost.

    Args:
        path: a raster, or a layer of GeoParquet or GeoPackage, that is going to be written.
        job: what it will be made of, of JSON types.
    """
    if not path.is_file():
        return
    tag = _tag_of(path)
    there = None if tag is None else _sources(json.loads(tag))
    if there != _sources(job):
        what = "no map" if there is None else f"a map of {', '.join(there) or 'another job'}"
        raise ValueError(f"{path} is {what}: give another --out, or move it away")


def _sources(job: Mapping[str, Any]) -> list[str]:
    """The scenes, or the map of embeddings, that a result is of."""
    paths = [path for path, _ in job.get("files", ())]
    paths += [job["embeddings"]] if "embeddings" in job else []
    return [os.path.abspath(path) for path in paths]


def _tag_of(path: Path) -> str | None:
    """The job of a file as JSON; None where it tells none."""
    if path.suffix == ".parquet":
        errors = geo_module("pyarrow", "vector layers").ArrowInvalid
        try:
            schema = geo_module("pyarrow.parquet", "vector layers").read_schema(path)
        except errors:
            return None
        found = (schema.metadata or {}).get(JOB_TAG.encode())
        return None if found is None else found.decode()
    if path.suffix == ".gpkg":
        pyogrio = geo_module("pyogrio", "vector layers")
        try:
            about = pyogrio.read_info(path, layer=path.stem)["layer_metadata"]
        except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError):
            return None
        return (about or {}).get(JOB_TAG)
    with one_line_errors(str(path)), opened(path) as file:
        return file.tags().get(JOB_TAG)
