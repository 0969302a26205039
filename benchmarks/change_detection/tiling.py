"""Cut large pairs and their labels into tiles, divided at random where asked.

    python -m benchmarks.change_detection.tiling LEVIR/train data/levir_cd/train
    python -m benchmarks.change_detection.tiling WHU data/whu_cd --split train=.8 val=.1 test=.1

SOURCE holds A, B and label (--folders: other names) with files of equal names, of any size and any
format that rasterio reads. Tiles do not overlap; those at the right and the lower border are filled
with 0, which counts as unchanged.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.change_detection.files import FOLDERS, PairFiles, find_pairs
from cmid.boundary import error_boundary
from cmid.command_line import parse
from cmid.files import whole_file
from cmid.options import at_least, option


def cut_pairs(
    source: Path,
    out: Path,
    *,
    size: int = 256,
    folders: Sequence[str] = FOLDERS,
    split: Mapping[str, float] | None = None,
    seed: int = 0,
) -> dict[str, int]:
    """Write ``OUT/{A,B,label}/NAME_ROW_COLUMN.png`` (GeoTIFF unless 1 or 3 bands of 8 bits).

    Args:
        source, folders: as ``root`` and ``folders`` of `find_pairs`.
        out: folder, new or empty.
        size: height and width of tiles in pixels.
        split: parts and their shares; then ``OUT/PART/{A,B,label}``, each tile in one part.
        seed: of that division.

    Returns:
        Number of tiles of each part, of "" without ``split``.

    Raises:
        FileExistsError: ``out`` holds files.
        FileNotFoundError, ValueError: as `find_pairs`; files of a pair of different sizes, named;
            or shares that are not positive or do not add up to 1.
    """
    if out.is_dir() and any(out.iterdir()):
        raise FileExistsError(f"{out} is not empty: choose another folder")
    parts = dict(split or {"": 1.0})
    if min(parts.values()) <= 0 or abs(sum(parts.values()) - 1) > 1e-6:
        raise ValueError(f"shares of a split are positive and add up to 1: {parts}")
    pairs = find_pairs(source, folders=folders)
    tiles = [(pair, row, column) for pair in pairs for row, column in _corners(pair, size)]
    order = random.Random(seed).sample(range(len(tiles)), len(tiles))
    ends = np.rint(np.cumsum([*parts.values()]) * len(tiles)).astype(int)
    counts = dict(zip(parts, np.diff(ends, prepend=0).tolist(), strict=True))
    part_of = dict(zip(order, np.repeat([*counts], [*counts.values()]), strict=True))
    for number, (pair, row, column) in enumerate(tqdm(tiles, desc="tiles", unit="tile")):
        name = f"{pair.name}_{row:05}_{column:05}"
        for folder, path in zip(FOLDERS, pair[:3], strict=True):
            tile = _read(path, row, column, size)
            _write(out / str(part_of[number]) / folder / name, tile)
    return counts


def _corners(pair: PairFiles, size: int) -> list[tuple[int, int]]:
    shapes = []
    for path in pair[:3]:
        with _opened(path) as file:
            shapes.append(file.shape)
    if len({*shapes}) > 1:
        found = ", ".join(
            f"{path} is {height} x {width}"
            for path, (height, width) in zip(pair[:3], shapes, strict=True)
        )
        raise ValueError(f"{found}: the files of a pair must have one size")
    height, width = shapes[0]
    return [(row, column) for row in range(0, height, size) for column in range(0, width, size)]


def _read(path: Path, row: int, column: int, size: int) -> NDArray[Any]:
    """``(C, size, size)``, 0 beyond the border."""
    with _opened(path) as file:
        window = ((row, min(row + size, file.height)), (column, min(column + size, file.width)))
        tile = file.read(window=window)
    rows, columns = size - tile.shape[1], size - tile.shape[2]
    return np.pad(tile, ((0, 0), (0, rows), (0, columns)))


def _write(stem: Path, tile: NDArray[Any]) -> None:
    bands, height, width = tile.shape
    picture = tile.dtype == np.uint8 and bands in (1, 3)
    ending, driver = (".png", "PNG") if picture else (".tif", "GTiff")
    form = {"count": bands, "height": height, "width": width, "dtype": tile.dtype}
    path = stem.with_name(stem.name + ending)
    with whole_file(path) as part, _opened(part, "w", driver=driver, **form) as file:
        file.write(tile)


def _opened(path: Path, *mode: str, **form: Any) -> Any:
    try:
        import rasterio
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "cutting tiles needs rasterio: pip install 'cmid[geo]'"
        ) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        return rasterio.open(path, *mode, **form)


@dataclass(frozen=True)
class TilesConfig:
    """Pairs, and the tiles that they are cut into.

    Attributes:
        source: folder that holds the three of --folders.
        out: folder to write.
        size: pixels a side.
        folders: names of the folders of first images, second images and labels.
        split: parts, and their shares of the pairs.
        seed: of the division.
    """

    source: Path
    out: Path
    size: Annotated[int, at_least(1)] = 256
    folders: tuple[str, str, str] = option(FOLDERS, metavar=("A", "B", "LABEL"))
    split: tuple[str, ...] = option((), metavar="PART=SHARE")
    seed: int = 0


def _share(text: str) -> tuple[str, float]:
    part, _, share = text.partition("=")
    try:
        return part, float(share)
    except ValueError:
        raise ValueError(f"--split {text}: give PART=SHARE, such as train=0.8") from None


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, cut, and say how many tiles there are."""
    config, traceback = parse(
        TilesConfig,
        arguments=arguments,
        verb="-m benchmarks.change_detection.tiling",
        description=__doc__,
    )
    with error_boundary(traceback=traceback, memory="--size"):
        shares = [_share(part) for part in config.split]
        counts = cut_pairs(
            config.source,
            config.out,
            size=config.size,
            folders=config.folders,
            split=dict(shares) or None,
            seed=config.seed,
        )
    for part, count in counts.items():
        print(f"{config.out / part}: {count} tiles")


if __name__ == "__main__":
    main()
