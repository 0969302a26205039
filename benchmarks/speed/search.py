"""Search among a million embeddings on one core: how long a query takes, and what codes lose.

python -m benchmarks.speed.search --cells 1000 --out DIR

With --keep a second call searches what the first one built, such as on a machine that is idle now.
"""

from __future__ import annotations

import json
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.speed.table import show
from cmid.command_line import command
from cmid.data.rasters import opened, rasterio_module
from cmid.inference.earlier import JOB_TAG
from cmid.inference.index import SearchIndex, build_index
from cmid.options import at_least, option

_ROWS = 50
_RANK = 64  # directions that most of the variance of the embeddings lies in
_HITS = 10
_TRUTH = "truth.npz"


@dataclass(frozen=True)
class SearchConfig:
    """What is measured.

    Attributes:
        out: folder of the map, the index and search.json; the first two are deleted in the end.
        cells: rows and columns of the map.
        channels: length of an embedding, a multiple of 16.
        queries: how many, each near to some cell.
        keep: leave the index there, and take the one that is there.
    """

    out: Path = option()
    cells: Annotated[int, at_least(10)] = 1000
    channels: Annotated[int, at_least(16)] = 384
    queries: Annotated[int, at_least(2)] = 100
    keep: bool = False


def vectors(config: SearchConfig) -> Iterator[NDArray[np.float32]]:
    """Rows of the map, ``(rows, cells, channels)``: a few strong directions, and noise in all."""
    mixture = np.random.default_rng(0).normal(size=(_RANK, config.channels)).astype(np.float32)
    mixture *= (np.arange(1, _RANK + 1) ** -0.5)[:, None].astype(np.float32)
    for top in range(0, config.cells, _ROWS):
        rng = np.random.default_rng((1, top))
        shape = (min(_ROWS, config.cells - top), config.cells)
        strong = rng.standard_normal((*shape, _RANK), dtype=np.float32) @ mixture
        yield strong + 0.3 * rng.standard_normal((*shape, config.channels), dtype=np.float32)


def write_map(path: Path, config: SearchConfig) -> None:
    """A map of embeddings as ``tools/map.py`` writes it, but neither compressed nor a COG."""
    job = {"model": "none", "digest": "", "bands": None, "sensor": None, "nodata": None}
    shape = {"width": config.cells, "height": config.cells, "count": config.channels}
    place = {"crs": "EPSG:32633", "transform": rasterio_module().transform.from_origin(0, 0, 1, 1)}
    form = {"driver": "GTiff", "dtype": "float32", "nodata": float("nan"), "interleave": "pixel"}
    with opened(path, "w", **form, **shape, **place, bigtiff="yes") as file:
        file.descriptions = tuple(f"feature {n}" for n in range(config.channels))
        file.update_tags(**{JOB_TAG: json.dumps({**job, "files": []})})
        for number, rows in enumerate(vectors(config)):
            window = rasterio_module().windows.Window(0, number * _ROWS, config.cells, len(rows))
            file.write(rows.transpose(2, 0, 1), window=window)


def nearest(
    config: SearchConfig, queries: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Numbers ``(queries, 10)`` and cosines of the most similar cells, in float32."""
    best: NDArray[Any] = np.empty((len(queries), 0), dtype=np.int64)
    scores: NDArray[Any] = np.empty((len(queries), 0), dtype=np.float32)
    first = 0
    for rows in vectors(config):
        unit = rows.reshape(-1, config.channels)
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        here = queries @ unit.T
        some = np.argpartition(-here, _HITS, axis=1)[:, :_HITS]
        best = np.concatenate([best, some + first], axis=1)
        scores = np.concatenate([scores, np.take_along_axis(here, some, axis=1)], axis=1)
        order = np.argsort(-scores, axis=1)[:, :_HITS]
        best, scores = (np.take_along_axis(each, order, axis=1) for each in (best, scores))
        first += len(unit)
    return best, scores


def _timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """What it returns; seconds by the clock and of the CPU."""
    clock, used = time.perf_counter(), time.process_time()
    done = work()
    return done, time.perf_counter() - clock, time.process_time() - used


def _built(config: SearchConfig) -> Path:
    """The index, with queries, what they should find, and what building took, beside it."""
    path, folder = config.out / "embeddings.tif", config.out / "index"
    if config.keep and (folder / _TRUTH).exists():
        return folder
    config.out.mkdir(parents=True, exist_ok=True)
    write_map(path, config)
    _, _, built = _timed(lambda: build_index([path], folder))
    path.unlink()
    rng = np.random.default_rng(2)
    cells: NDArray[np.float32] = next(vectors(config)).reshape(-1, config.channels)
    near = cells[rng.choice(len(cells), config.queries, replace=False)]
    near += 0.1 * rng.standard_normal(near.shape, dtype=np.float32)
    queries = near / np.linalg.norm(near, axis=1, keepdims=True)
    best, _ = nearest(config, queries)
    np.savez(folder / _TRUTH, queries=queries, best=best, built=built)
    return folder


@command(SearchConfig, memory="--cells")
def main(config: SearchConfig) -> None:
    """Build, open and search an index; show and write what it took."""
    import faiss

    faiss.omp_set_num_threads(1)
    folder = _built(config)
    truth = np.load(folder / _TRUTH)
    queries, best = truth["queries"], truth["best"]
    index, _, opening = _timed(lambda: SearchIndex(folder))
    _, _, first = _timed(lambda: index.search(queries[0]))
    times, answers = [], []
    for query in queries:
        hits, clock, used = _timed(partial(index.search, query, count=_HITS))
        times.append((clock, used))
        answers.append([hit.row * config.cells + hit.column for hit in hits])
    codes = index._codes.search(queries, _HITS)[1]
    row = {
        "cells": len(index),
        "channels": config.channels,
        "build CPU s": float(truth["built"]),
        "open and first query CPU s": opening + first,
        "query ms": 1e3 * statistics.median(clock for clock, _ in times),
        "query CPU ms": 1e3 * statistics.median(used for _, used in times),
        "recall@10": _recall(answers, best),
        "recall@10 of codes alone": _recall(codes, best),
        "MB on disk": sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e6,
    }
    if not config.keep:
        shutil.rmtree(folder)
    show([row], replace(config, out=config.out / "search.json"))


def _recall(found: Any, truth: NDArray[np.int64]) -> float:
    pairs = zip(found, truth, strict=True)
    return float(np.mean([len({*a} & {*b.tolist()}) / _HITS for a, b in pairs]))


if __name__ == "__main__":
    main()
