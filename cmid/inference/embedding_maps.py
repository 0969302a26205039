"""Maps of embeddings, read again: cell by cell, and what they were made of."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmid.data.rasters import one_line_errors, opened, rasterio_module, transformed
from cmid.inference.earlier import JOB_TAG
from cmid.inference.scenes import Area

_VALUES_HELD = 16_000_000
Cells = NDArray[np.float32]


class EmbeddingMap:
    """An ``embeddings.tif`` of ``tools/map.py``.

    Attributes:
        path: of the file. channels: length of an embedding.
        job: what made it: model, its digest, scenes, bands ...
        area: where it lies, in its cells.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no map of embeddings.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = str(path)
        if Path(path).is_dir():
            raise FileNotFoundError(f"{path} is a folder: give the map of embeddings in it")
        if not Path(path).is_file():
            raise FileNotFoundError(f"{path} does not exist: give a map of embeddings")
        with one_line_errors(self.path):
            self._file = opened(self.path)
        job = self._file.tags().get(JOB_TAG)
        if job is None or not (self._file.descriptions[0] or "").startswith("feature "):
            raise ValueError(f"{path} is no map of embeddings: make one with tools/map.py")
        self.job: Mapping[str, Any] = json.loads(job)
        self.channels = self._file.count
        self._scales: Cells = np.array(self._file.scales, dtype=np.float32)
        self.area = Area(self._file.height, self._file.width, self._file.crs, self._file.transform)

    @property
    def tops(self) -> range:
        """First rows of the parts that `rows` gives."""
        block = self._file.block_shapes[0][0]
        some = max(1, _VALUES_HELD // (self.area.width * self.channels))
        return range(0, self.area.height, some // block * block or some)

    def rows(self, first: int = 0) -> Iterator[tuple[int, Cells, NDArray[np.bool_]]]:
        """Some rows at a time, from top to bottom.

        Args:
            first: number of the first part.

        Yields:
            Number of the part's first row, ``(rows, columns, channels)`` embeddings and ``(rows,
            columns)``, True where there is none.
        """
        for top in self.tops[first:]:
            height = min(self.tops.step, self.area.height - top)
            yield top, *self._read(top, 0, height, self.area.width)

    def at(
        self, x: Sequence[float], y: Sequence[float], crs: Any = None
    ) -> tuple[Cells, NDArray[np.bool_]]:
        """Embeddings of places.

        Args:
            x, y: coordinates. crs: their reference system, if it is not the map's.

        Returns:
            ``(N, channels)``, and ``(N)``, False where there is none.
        """
        if crs and self.area.crs and crs != self.area.crs:
            x, y = transformed(x, y, crs, self.area.crs)
        found = np.zeros((len(x), self.channels), dtype=np.float32)
        known = np.zeros(len(x), dtype=bool)
        for number, place in enumerate(zip(x, y, strict=True)):
            column, row = (int(np.floor(v)) for v in ~self.area.transform * place)
            if 0 <= row < self.area.height and 0 <= column < self.area.width:
                values, missing = self._read(row, column, 1, 1)
                found[number], known[number] = values[0, 0], not missing[0, 0]
        return found, known

    def _read(
        self, top: int, left: int, height: int, width: int
    ) -> tuple[Cells, NDArray[np.bool_]]:
        window = rasterio_module().windows.Window(left, top, width, height)
        with one_line_errors(self.path):
            stored = self._file.read(window=window).transpose(1, 2, 0)
        nodata = self._file.nodata
        missing = np.isnan(stored[..., 0]) if np.isnan(nodata) else stored[..., 0] == nodata
        return stored.astype(np.float32) * self._scales, missing
