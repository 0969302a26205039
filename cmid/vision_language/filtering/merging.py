"""From files of blocks to one selection, block by block."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cmid.files import whole_file
from cmid.vision_language.data.parquet import import_pyarrow, open_parquet
from cmid.vision_language.data.selection import METADATA
from cmid.vision_language.filtering.blocks import Block
from cmid.vision_language.filtering.choosing import REASONS, Choice, Pairs

_NUMBERS = ["index", "words", "score", "reason"]
_ROWS_A_GROUP = 100_000


def read_pairs(blocks: Sequence[Block], folder: Path, *, embedded: bool) -> Pairs:
    """The numbers of all blocks; some 20 bytes a pair are held, and the embeddings."""
    place = {reason: number for number, reason in enumerate(REASONS)}
    columns: dict[str, list[Any]] = {name: [] for name in ("source", *_NUMBERS)}
    embeddings = []
    for block in blocks:
        with open_parquet(block.file(folder)) as file:
            table = file.read(columns=[*_NUMBERS, *(["embedding"] if embedded else [])])
        numbers = {name: table.column(name).to_numpy() for name in _NUMBERS}
        numbers["reason"] = np.array([place[r] for r in numbers["reason"]], dtype=np.int8)
        numbers["source"] = np.full(len(table), block.source, dtype=np.int16)
        for name, values in numbers.items():
            columns[name].append(values)
        if embedded:
            embeddings.append(_of_images(numbers["index"], table.column("embedding")))
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    return Pairs(**joined, embedding=np.concatenate(_filled(embeddings)) if embedded else None)


def read_texts(blocks: Sequence[Block], folder: Path) -> np.ndarray:
    """``(N,)`` number of each pair's text within its image."""
    parts = []
    for block in blocks:
        with open_parquet(block.file(folder)) as file:
            parts.append(file.read(columns=["text"]).column("text").to_numpy())
    return np.concatenate(parts)


def write_selection(
    out: Path, blocks: Sequence[Block], folder: Path, choice: Choice, metadata: dict[str, Any]
) -> None:
    """Write the selection: one row a pair, in the order of the data.

    Columns are ``id``, ``source`` (number), ``index``, ``text`` (numbers within the source and the
    image), ``words``, ``score``, ``ranked_by``, ``rank`` (null where none), ``kept``, ``reason``
    (empty for kept ones) and ``detail``.
    """
    pa = import_pyarrow()
    writer: Any = None
    waiting, count = [], 0
    with whole_file(out) as partial:
        for table in _decided(blocks, folder, choice):
            table = table.replace_schema_metadata({METADATA: json.dumps(metadata)})
            writer = writer or pa.parquet.ParquetWriter(partial, table.schema)
            waiting.append(table)
            count += len(table)
            if count >= _ROWS_A_GROUP:
                writer.write_table(pa.concat_tables(waiting))
                waiting, count = [], 0
        if waiting:
            writer.write_table(pa.concat_tables(waiting))
        writer.close()


def _decided(blocks: Sequence[Block], folder: Path, choice: Choice) -> Iterator[Any]:
    pa = import_pyarrow()
    names = _names_of_twins(blocks, folder, choice)
    start = 0
    reasons = pa.array(REASONS)
    for block in blocks:
        with open_parquet(block.file(folder)) as file:
            table = file.read(columns=["id", "index", "text", "words", "score", "detail"])
        own = slice(start, start := start + len(table))
        detail = table.column("detail").to_pylist()
        for row in np.flatnonzero(choice.twin[own] >= 0):
            detail[row] = f"of {names[int(choice.twin[own][row])]}"
        rank = choice.rank[own]
        columns = {
            "id": table.column("id"),
            "source": pa.array(np.full(len(table), block.source, dtype=np.int16)),
            **{name: table.column(name) for name in ("index", "text", "words", "score")},
            "ranked_by": pa.array(choice.ranked_by[own]),
            "rank": pa.array(rank, mask=rank == 0),
            "kept": pa.array(choice.kept[own]),
            "reason": pa.DictionaryArray.from_arrays(pa.array(choice.reason[own]), reasons),
            "detail": pa.array(detail, pa.string()),
        }
        yield pa.table(columns)


def _names_of_twins(blocks: Sequence[Block], folder: Path, choice: Choice) -> dict[int, str]:
    wanted = np.unique(choice.twin[choice.twin >= 0])
    found: dict[int, str] = {}
    start = 0
    for block in blocks if len(wanted) else ():
        with open_parquet(block.file(folder)) as file:
            stop = start + file.metadata.num_rows
            own = wanted[(wanted >= start) & (wanted < stop)]
            ids = file.read(columns=["id"]).column("id") if len(own) else []
        found |= {int(row): ids[int(row) - start].as_py() for row in own}
        start = stop
    return found


def _of_images(index: np.ndarray, column: Any) -> np.ndarray:
    """``(M, E)``: the embedding of each image, NaN where it has none; E may be 0."""
    first = np.concatenate([[True], np.diff(index) != 0])
    there = column.combine_chunks().filter(first)
    known = there.is_valid().to_numpy(zero_copy_only=False)
    values = there.drop_null().flatten().to_numpy()
    made = np.full((len(known), len(values) // max(1, known.sum())), np.nan, dtype=np.float16)
    made[known] = values.reshape(known.sum(), -1) if len(values) else made[known]
    return made


def _filled(parts: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Blocks in which nothing could be read have embeddings of no width."""
    width = max(part.shape[1] for part in parts)
    return [
        part if part.shape[1] == width else np.full((len(part), width), np.nan, dtype=np.float16)
        for part in parts
    ]
