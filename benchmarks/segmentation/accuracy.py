"""Accuracy of a map against a raster of labels, wherever the two lie over each other.

python -m benchmarks.segmentation.accuracy maps/classes.tif runs/scenes/geotiff/labels.tif
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmid.command_line import command
from cmid.data.rasters import one_line_errors, opened, rasterio_module
from cmid.reporting import Row, Table, markdown_table

_ROWS = 512


@dataclass(frozen=True)
class AccuracyConfig:
    """Two rasters of one grid.

    Attributes:
        map: class indices, such as classes.tif of tools/map.py.
        truth: class indices.
    """

    map: Path
    truth: Path


@command(AccuracyConfig)
def main(config: AccuracyConfig) -> None:
    """Print overall accuracy, mean IoU and the IoU of each class."""
    counts, names = confusion(config.map, config.truth)
    right = np.diag(counts)
    union = counts.sum(axis=0) + counts.sum(axis=1) - right
    iou = np.divide(100 * right, union, out=np.full(len(right), np.nan), where=union > 0)
    rows = [
        Row(name, (f"{100 * share:.1f}", f"{value:.1f}"))
        for name, share, value in zip(names, counts.sum(axis=1) / counts.sum(), iou, strict=True)
    ]
    print(markdown_table(Table(("class", "% of pixels", "IoU"), tuple(rows))))
    accuracy = 100 * right.sum() / counts.sum()
    print(f"overall accuracy {accuracy:.1f}, mIoU {np.nanmean(iou):.1f}, {counts.sum()} pixels")


def confusion(path: Path, truth_path: Path) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """``(K, K)`` counts of pixels, true classes by rows, and the names of the classes.

    Pixels that either raster has no value for do not count.

    Raises:
        ValueError: rasters of different grids, or that do not lie over each other.
        UnreadableImageError: a file is damaged.
    """
    with one_line_errors(str(path)), opened(path) as file, opened(truth_path) as truth:
        shift = ~truth.transform * file.transform
        left, top = round(shift.c), round(shift.f)
        same = shift.almost_equals(shift.translation(left, top), precision=1e-3)
        if file.crs != truth.crs or not same:
            raise ValueError(f"{path} has another grid than {truth_path}: map the scene itself")
        names = _names(truth) or _names(file)
        counts = np.zeros((256, 256), dtype=np.int64)
        for row in range(0, file.height, _ROWS):
            window = rasterio_module().windows.Window(
                0, row, file.width, min(_ROWS, file.height - row)
            )
            found = file.read(1, window=window)
            place = rasterio_module().windows.Window(left, top + row, file.width, window.height)
            # Beyond the border lies nothing.
            wanted = truth.read(1, window=place, boundless=True, fill_value=255)
            known = (found != file.nodata) & (wanted != 255)
            pairs = 256 * wanted[known].astype(np.int64) + found[known]
            counts += np.bincount(pairs, minlength=256**2).reshape(256, 256)
    if not counts.any():
        raise ValueError(f"{path} and {truth_path} have no pixel in common")
    last = max(len(names), int(np.flatnonzero(counts.any(axis=0) | counts.any(axis=1)).max()) + 1)
    names += tuple(f"class {number}" for number in range(len(names), last))
    return counts[:last, :last], names


def _names(file: Any) -> tuple[str, ...]:
    """Names of classes that a raster of `cmid.inference.products.Classes` tells."""
    tags = file.tags(1)
    count = sum(key.startswith("class_") for key in tags)
    return tuple(tags[f"class_{number}"] for number in range(count))


if __name__ == "__main__":
    main()
