"""An index of embeddings of whole scenes: on disk in LanceDB, searched by cosine similarity.

The table holds unit vectors in half precision. A search compares the query with short codes of all
cells in memory (faiss), and orders the best of them by what the table holds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmid.files import new_folder, write_json
from cmid.inference.embedding_maps import EmbeddingMap

ABOUT = "index.json"
_TABLE = "cells"
_PLACE = ("map", "row", "column")
_CODES = "codes.faiss"
_AT_A_TIME = 50_000
_REORDERED = 20  # for each hit that is wanted
# More cells than this have codes of four bits for two numbers, which are read in a seventh of the
# time that those of half precision take. Others need no training, and are found exactly.
_EXACT = 100_000
_TRAINED_ON = 20_000
# What the maps of one index have in common, else their embeddings do not compare.
_COMMON = ("model", "digest", "bands", "sensor", "nodata")


@dataclass(frozen=True)
class Hit:
    """A cell that a search found.

    Attributes:
        score: cosine similarity.
        map: number of its map in ``about["maps"]``. row, column: of the cell there.
    """

    score: float
    map: int
    row: int
    column: int


def build_index(paths: Sequence[Path | str], out: Path | str) -> SearchIndex:
    """Write an index of maps of embeddings; cells without an embedding are left out.

    Args:
        paths: maps of one model in one reference system.
        out: new folder.

    Raises:
        FileExistsError: the folder holds something.
        ValueError: maps that do not fit together, or that hold nothing.
        ModuleNotFoundError: LanceDB or faiss is not installed.
    """
    lancedb, faiss = _libraries()
    import pyarrow as pa

    maps = [EmbeddingMap(path) for path in paths]
    for other in maps[1:]:
        odd = [key for key in _COMMON if other.job.get(key) != maps[0].job.get(key)]
        odd += ["reference system"] * (other.area.crs != maps[0].area.crs)
        if odd:
            raise ValueError(f"{other.path} is of another {odd[0]} than {maps[0].path}: index both")
    channels = maps[0].channels
    counts = {"cells": 0, "left_out": 0}
    vectors = pa.list_(pa.float16(), channels)
    numbers = [(name, pa.int32()) for name in _PLACE]
    schema = pa.schema([*numbers, ("vector", vectors)])

    def batches() -> Iterator[Any]:
        for number, each in enumerate(maps):
            for top, values, missing in each.rows():
                lengths = np.linalg.norm(values, axis=-1)
                row, column = np.nonzero(~missing & (lengths > 0))
                counts["cells"] += len(row)
                counts["left_out"] += missing.size - len(row)
                unit = values[row, column] / lengths[row, column, None]
                flat = pa.array(unit.astype(np.float16).ravel())
                places = [np.full(len(row), number), row + top, column]
                yield pa.record_batch(
                    [
                        *(pa.array(place.astype(np.int32)) for place in places),
                        pa.FixedSizeListArray.from_arrays(flat, channels),
                    ],
                    schema=schema,
                )

    with new_folder(out) as folder:
        table = lancedb.connect(str(folder)).create_table(
            _TABLE, data=pa.RecordBatchReader.from_batches(schema, batches())
        )
        if not table.count_rows():
            raise ValueError(f"{maps[0].path} has no cell with an embedding: nothing to search")
        faiss.write_index(_coded(table, channels), str(folder / _CODES))
        about = {
            "job": maps[0].job,
            "maps": [_described(each) for each in maps],
            "crs": maps[0].area.crs.to_wkt() if maps[0].area.crs else None,
            **counts,
        }
        write_json(folder / ABOUT, about)
    return SearchIndex(out)


def _coded(table: Any, channels: int) -> Any:
    """Codes of all vectors, in faiss."""
    faiss, count = _libraries()[1], table.count_rows()
    if count > _EXACT:
        parts = channels // 2 if channels % 2 == 0 else channels
        codes = faiss.IndexPQFastScan(channels, parts, 4, faiss.METRIC_INNER_PRODUCT)
        some = np.random.default_rng(0).choice(count, min(count, _TRAINED_ON), replace=False)
        sample = table.take_offsets(np.sort(some).tolist()).select(["vector"]).to_arrow()
        codes.train(_vectors(sample["vector"].combine_chunks()).astype(np.float32))
    else:
        kind = faiss.ScalarQuantizer.QT_fp16
        codes = faiss.IndexScalarQuantizer(channels, kind, faiss.METRIC_INNER_PRODUCT)
    for batch in table.search().select(["vector"]).to_batches(_AT_A_TIME):
        codes.add(_vectors(batch["vector"]).astype(np.float32))
    return codes


def _described(each: EmbeddingMap) -> dict[str, Any]:
    place = {"transform": [*each.area.transform][:6]}
    files = [os.path.abspath(p) if os.path.exists(p) else p for p, _ in each.job["files"]]
    return {"path": str(Path(each.path).absolute()), "scenes": files, **place}


class SearchIndex:
    """A folder that `build_index` wrote.

    Attributes:
        about: ``job`` (model, digest, bands ... of the maps), ``maps`` (``path``, ``scenes``,
            ``transform``), ``crs``, counts of ``cells`` and of those ``left_out``.

    Raises:
        FileNotFoundError: no index is there.
        ModuleNotFoundError: LanceDB or faiss is not installed.
    """

    def __init__(self, folder: Path | str) -> None:
        if not all((Path(folder) / name).is_file() for name in (ABOUT, _CODES)):
            raise FileNotFoundError(
                f"{folder} is no index: make one with tools/search.py build EMBEDDINGS"
            )
        self.about: Mapping[str, Any] = json.loads((Path(folder) / ABOUT).read_text())
        lancedb, faiss = _libraries()
        self._table = lancedb.connect(str(folder)).open_table(_TABLE)
        self._codes = faiss.read_index(str(Path(folder) / _CODES))

    def __len__(self) -> int:
        return int(self.about["cells"])

    def search(
        self, query: NDArray[np.float32], *, count: int = 10, apart: int = 1, exact: bool = False
    ) -> tuple[Hit, ...]:
        """The most similar cells, best first.

        Args:
            query: ``(channels)``, of any length but 0.
            count: how many at most.
            apart: of cells nearer to each other than this, in rows and columns, only the best is
                a hit.
            exact: LanceDB compares the vectors of all cells, which takes seconds for a million of
                them. Without, as good as nothing is lost (about one hit in a thousand, above
                100,000 cells).
        """
        unit = (query / np.linalg.norm(query)).astype(np.float32)
        some = min(len(self), _EXACT, _REORDERED * count * (2 * apart - 1) ** 2)
        vectors, places = (self._scanned if exact else self._coded)(unit, some)
        scores = vectors.astype(np.float32) @ unit
        hits: list[Hit] = []
        kept: list[NDArray[Any]] = []
        for number in np.argsort(-scores, kind="stable"):
            place = places[number]
            near = [k for k in kept if k[0] == place[0] and np.abs(k - place).max() < apart]
            if len(hits) < count and not near:
                kept.append(place)
                hits.append(Hit(float(scores[number]), *place.tolist()))
        return tuple(hits)

    def _coded(
        self, unit: NDArray[np.float32], count: int
    ) -> tuple[NDArray[np.float16], NDArray[np.int32]]:
        """Vectors and places of the cells whose codes are most similar."""
        found = np.sort(self._codes.search(unit[None], count)[1][0])
        found = found[found >= 0]
        # LanceDB answers in the order of the table.
        taken = self._table.take_offsets(found.tolist()).select(["vector"]).to_arrow()
        return _vectors(taken["vector"].combine_chunks()), self._places[found]

    def _scanned(
        self, unit: NDArray[np.float32], count: int
    ) -> tuple[NDArray[np.float16], NDArray[np.int32]]:
        """Vectors and places of the cells that are most similar."""
        taken = self._table.search(unit).distance_type("dot").limit(count).to_arrow()
        places = np.stack([taken[name].to_numpy() for name in _PLACE], axis=1)
        return _vectors(taken["vector"].combine_chunks()), places

    @cached_property
    def _places(self) -> NDArray[np.int32]:
        """Map, row and column of all vectors: with them LanceDB takes 4 times as long."""
        table = self._table.search().select([*_PLACE]).to_arrow()
        return np.stack([table[name].to_numpy() for name in _PLACE], axis=1)


def _vectors(column: Any) -> NDArray[np.float16]:
    return column.flatten().to_numpy().reshape(len(column), -1)


def _libraries() -> tuple[ModuleType, ModuleType]:
    """LanceDB and faiss."""
    try:
        import faiss
        import lancedb
        import pyarrow  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"search needs {error.name}: pip install 'cmid[search]'"
        ) from error
    return lancedb, faiss
