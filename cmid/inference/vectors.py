"""Vector layers on disk: the same features as GeoParquet, and as GeoPackage."""

from __future__ import annotations

import errno
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmid.data.rasters import geo_module
from cmid.files import scratch_folder
from cmid.inference.earlier import JOB_TAG

Columns = Mapping[str, NDArray[Any]]
"""Some features: an array a column, ``geometry`` among them, which holds shapely's.

A column ``(N, D)`` holds a list of D numbers for each, which GeoPackage does not know."""


def check_vectors() -> None:
    """Raise ModuleNotFoundError, which names the extra, where vector layers cannot be written."""
    try:
        import pyarrow  # noqa: F401
        import pyogrio  # noqa: F401
        import shapely  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"vector layers need {error.name}: pip install 'cmid[geo]'"
        ) from error


def write_features(
    path: Path,
    parts: Iterator[Columns],
    *,
    crs: Any,
    geometry: str = "Polygon",
    job: str | None = None,
) -> list[Path]:
    """Write features part by part, so that memory holds one of them.

    Args:
        path: of both files, without their endings; its last part is the name of the layer.
        parts: of the same columns; at least one, which may have no feature.
        crs: reference system, as rasterio has it; None without one.
        geometry: the type of all geometries.
        job: what they are made of as JSON, which both files keep, see `cmid.inference.earlier`.

    Returns:
        ``PATH.parquet`` and ``PATH.gpkg``; the first alone where a column holds lists.

    Raises:
        NoRoomError: the disk is full.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = map(_table, parts)
    first = next(tables)
    column = {
        "encoding": "WKB",
        "geometry_types": [geometry],
        "crs": crs.to_dict(projjson=True) if crs else None,
    }
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
    about = {} if job is None else {JOB_TAG: job}
    schema = first.schema.with_metadata({"geo": json.dumps(geo), **about})
    listed = any(pa.types.is_fixed_size_list(field.type) for field in schema)
    endings = ("parquet",) if listed else ("parquet", "gpkg")
    paths = [path.with_name(f"{path.name}.{ending}") for ending in endings]
    with scratch_folder(paths[0]) as scratch:
        parquet = scratch / paths[0].name
        with pq.ParquetWriter(parquet, schema) as writer:
            for table in chain([first], tables):
                writer.write_table(table.cast(schema))
        if not listed:
            batches = pa.RecordBatchReader.from_batches(
                first.schema, pq.ParquetFile(parquet).iter_batches()
            )
            package = scratch / paths[1].name
            _write_package(package, batches, crs=crs, geometry=geometry, about=about)
        for final in paths:
            os.replace(scratch / final.name, final)
    return paths


def read_geometries(path: str | os.PathLike[str]) -> tuple[NDArray[Any], Any]:
    """Geometries of a file of vectors, and their reference system.

    Args:
        path: GeoParquet, or what GDAL reads: GeoPackage, GeoJSON, Shapefile ...

    Returns:
        ``(N,)`` of shapely's, the missing ones left out; the system as rasterio has it, or None.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it holds no geometry, or is no file of vectors.
        ModuleNotFoundError: the extra ``geo`` is not installed.
    """
    check_vectors()
    import pyogrio
    import shapely

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}: correct the path")
    if path.suffix.lower() in (".parquet", ".geoparquet"):
        encoded, system = _read_parquet(path)
    else:
        try:
            about, _, encoded, _ = pyogrio.raw.read(path, columns=[])
        except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"{path} is no file of vectors: {reason}") from error
        system = about["crs"]
    shapes = shapely.from_wkb([] if encoded is None else encoded)
    shapes = shapes[~shapely.is_missing(shapes) & ~shapely.is_empty(shapes)]
    if not len(shapes):
        raise ValueError(f"{path} holds no geometry: give a layer of polygons or points")
    return shapes, None if system is None else geo_module("rasterio.crs").CRS.from_user_input(
        system
    )


def _read_parquet(path: Path) -> tuple[NDArray[Any], Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_schema(path).metadata or {}
        geo = json.loads(metadata[b"geo"])
        column = geo["columns"][geo["primary_column"]]
        if column["encoding"] != "WKB":
            raise ValueError(f"{path} holds geometries as {column['encoding']}: write them as WKB")
        table = pq.read_table(path, columns=[geo["primary_column"]])
    except (pa.ArrowInvalid, KeyError) as error:
        raise ValueError(f"{path} is no GeoParquet: {error}") from error
    # Without an entry longitude and latitude are meant.
    return table.column(0).to_numpy(), column.get("crs", "OGC:CRS84")


def _table(columns: Columns) -> Any:
    import pyarrow as pa
    import shapely

    arrays = {name: _array(values) for name, values in columns.items() if name != "geometry"}
    geometry = pa.array(shapely.to_wkb(columns["geometry"]), type=pa.binary())
    return pa.table({**arrays, "geometry": geometry})


def _array(values: NDArray[Any]) -> Any:
    import pyarrow as pa

    if values.ndim == 1:
        return pa.array(values)
    numbers = pa.array(np.ascontiguousarray(values).ravel())
    return pa.FixedSizeListArray.from_arrays(numbers, values.shape[1])


def _write_package(
    path: Path, batches: Any, *, crs: Any, geometry: str, about: Mapping[str, str]
) -> None:
    import pyogrio

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="'crs' was not provided")
            pyogrio.write_arrow(
                batches,
                path,
                layer=path.stem,
                driver="GPKG",
                geometry_name="geometry",
                geometry_type=geometry,
                crs=crs.to_wkt() if crs else None,
                layer_metadata=about or None,
            )
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        # All that can fail here is the disk, and SQLite has words of its own for that.
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {error}") from error
