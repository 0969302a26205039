"""A selection of millions of pairs: how long it takes to open and to read through, in what memory.

python -m benchmarks.speed.selection --pairs 10000000 --out DIR
"""

from __future__ import annotations

import json
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from cmid.command_line import command
from cmid.data.source import Draws, Image, MinSize
from cmid.files import whole_file, write_json
from cmid.options import at_least, option
from cmid.vision_language.data.parquet import import_pyarrow
from cmid.vision_language.data.selection import METADATA, SelectedTexts
from cmid.vision_language.data.source import ImageText, ImageTextSource

_ROWS = 100_000


@dataclass(frozen=True)
class SelectionConfig:
    """What is measured.

    Attributes:
        pairs: rows of the selection, one text an image.
        keep: share that is kept.
        reads: images that are read through the view, drawn at random.
        out: folder of the selection and of selection.json.
    """

    pairs: Annotated[int, at_least(1)] = 10_000_000
    keep: Annotated[float, at_least(0, 1)] = 0.3
    reads: Annotated[int, at_least(1)] = 100_000
    out: Path = option()


class Numbers(ImageTextSource):
    """As many entries as wanted, which take no memory."""

    def __init__(self, count: int) -> None:
        import torch

        self.count = count
        self.pixels = torch.zeros(3, 8, 8, dtype=torch.uint8)

    def __len__(self) -> int:
        return self.count

    @property
    def digest(self) -> str:
        return f"numbers {self.count}"

    def name(self, index: int) -> str:
        return f"shard-{index // 10_000:05}.tar:{index:09}"

    def captions(self, index: int) -> tuple[str, ...]:
        return (str(index),)

    def decode(self, index: int, min_size: MinSize, generator: Draws) -> ImageText:
        return ImageText(Image(self.pixels, (8, 8)), self.captions(index))


@command(SelectionConfig, memory="--pairs")
def main(config: SelectionConfig) -> None:
    """Write a synthetic selection, open it, read through it; print and write what it took."""
    source = Numbers(config.pairs)
    path = config.out / "selection.parquet"
    _write(path, source, config)
    before = _peak()
    started = time.perf_counter()
    view = SelectedTexts(source, path)
    opened = time.perf_counter() - started
    drawn = np.random.default_rng(1).integers(0, len(view), config.reads)
    started = time.perf_counter()
    for index in drawn.tolist():
        if view[index].captions != (str(view.indices[index]),):
            raise ValueError(f"entry {index} of the view has the text of another image")
    read = time.perf_counter() - started
    results = {
        "pairs": config.pairs,
        "kept": len(view),
        "MB of the file": path.stat().st_size / 1e6,
        "MB that the view holds": sum(a.nbytes for a in (view.indices, view._starts, view._texts))
        / 1e6,
        "MB more at the peak of opening": (_peak() - before) / 1e3,
        "seconds to open": opened,
        "reads a second": config.reads / read,
    }
    write_json(config.out / "selection.json", results)
    print(json.dumps(results, indent=2))


def _peak() -> int:
    """Largest resident memory so far, in kB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _write(path: Path, source: Numbers, config: SelectionConfig) -> None:
    pa = import_pyarrow()
    rng = np.random.default_rng(0)
    about = {"sources": [{"name": "numbers", "digest": source.digest, "images": len(source)}]}
    writer: Any = None
    with whole_file(path) as partial:
        for start in range(0, len(source), _ROWS):
            index = np.arange(start, min(start + _ROWS, len(source)))
            columns = {
                "id": [source.name(k) for k in index.tolist()],
                "source": np.zeros(len(index), dtype=np.int16),
                "index": index,
                "text": np.zeros(len(index), dtype=np.int32),
                "score": rng.normal(size=len(index)).astype(np.float32),
                "kept": rng.random(len(index)) < config.keep,
            }
            table = pa.table(columns).replace_schema_metadata({METADATA: json.dumps(about)})
            writer = writer or pa.parquet.ParquetWriter(partial, table.schema)
            writer.write_table(table)
        writer.close()


if __name__ == "__main__":
    main()
