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

from numpy.typing import NDArray

from cmid.files import scratch_folder

Columns = Mapping[str, NDArray[Any]]
"""Some features: an array a column, ``geometry`` among them, which holds shapely's."""


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
    path: Path, parts: Iterator[Columns], *, crs: Any, geometry: str = "Polygon"
) -> list[Path]:
    """Write features part by part, so that memory holds one of them.

    Args:
        path: of both files, without their endings; its last part is the name of the layer.
        parts: of the same columns; at least one, which may have no feature.
        crs: reference system, as rasterio has it; None without one.
        geometry: the type of all geometries.

    Returns:
        ``PATH.parquet`` and ``PATH.gpkg``.

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
    schema = first.schema.with_metadata({"geo": json.dumps(geo)})
    paths = [path.with_name(f"{path.name}.{ending}") for ending in ("parquet", "gpkg")]
    with scratch_folder(paths[0]) as scratch:
        parquet, package = (scratch / each.name for each in paths)
        with pq.ParquetWriter(parquet, schema) as writer:
            for table in chain([first], tables):
                writer.write_table(table.cast(schema))
        batches = pa.RecordBatchReader.from_batches(
            first.schema, pq.ParquetFile(parquet).iter_batches()
        )
        _write_package(package, batches, crs=crs, geometry=geometry)
        for written, final in zip((parquet, package), paths, strict=True):
            os.replace(written, final)
    return paths


def _table(columns: Columns) -> Any:
    import pyarrow as pa
    import shapely

    arrays = {name: pa.array(values) for name, values in columns.items() if name != "geometry"}
    geometry = pa.array(shapely.to_wkb(columns["geometry"]), type=pa.binary())
    return pa.table({**arrays, "geometry": geometry})


def _write_package(path: Path, batches: Any, *, crs: Any, geometry: str) -> None:
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
            )
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        # All that can fail here is the disk, and SQLite has words of its own for that.
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {error}") from error
