"""Cut large pairs and their labels into tiles, divided at random where asked.

    python -m benchmarks.change_detection.tiling LEVIR/train data/levir_cd/train
    python -m benchmarks.change_detection.tiling WHU data/whu_cd --split train=.8 val=.1 test=.1

SOURCE holds A, B and label (--folders: other names) with files of equal names, of any size and any
format that rasterio reads. Tiles do not overlap; those at the right and the lower border are filled
with 0, which counts as unchanged.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.change_detection.files import FOLDERS, PairFiles, find_pairs
from cmid.command_line import command
from cmid.data.rasters import opened, write_raster
from cmid.data.windows import Window, fill_up, tile
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
        source, folders: see ``root`` and ``folders`` of `find_pairs`.
        out: folder, new or empty.
        size: height and width of tiles in pixels.
        split: parts and their shares; then ``OUT/PART/{A,B,label}``, each tile in one part.
        seed: random seed of that division.

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
    tiles = [(pair, window) for pair in pairs for window in _windows(pair, size)]
    order = random.Random(seed).sample(range(len(tiles)), len(tiles))
    ends = np.rint(np.cumsum([*parts.values()]) * len(tiles)).astype(int)
    counts = dict(zip(parts, np.diff(ends, prepend=0).tolist(), strict=True))
    part_of = dict(zip(order, np.repeat([*counts], [*counts.values()]), strict=True))
    for number, (pair, window) in enumerate(tqdm(tiles, desc="tiles", unit="tile")):
        name = f"{pair.name}_{window.top:05}_{window.left:05}"
        for folder, path in zip(FOLDERS, pair[:3], strict=True):
            _write(out / str(part_of[number]) / folder / name, _read(path, window))
    return counts


def _windows(pair: PairFiles, size: int) -> list[Window]:
    shapes = []
    for path in pair[:3]:
        with opened(path) as file:
            shapes.append(file.shape)
    if len({*shapes}) > 1:
        found = ", ".join(
            f"{path} is {height} x {width}"
            for path, (height, width) in zip(pair[:3], shapes, strict=True)
        )
        raise ValueError(f"{found}: the files of a pair must have one size")
    return tile(*shapes[0], size=size, moved=False)


def _read(path: Path, window: Window) -> NDArray[Any]:
    """``(H, W, C)``, 0 beyond the border."""
    with opened(path) as file:
        pixels = file.read(window=window.inside(*file.shape).slices)
    return fill_up(pixels.transpose(1, 2, 0), (window.height, window.width), 0)


def _write(stem: Path, pixels: NDArray[Any]) -> None:
    picture = pixels.dtype == np.uint8 and pixels.shape[2] in (1, 3)
    ending, driver = (".png", "PNG") if picture else (".tif", "GTiff")
    with whole_file(stem.with_name(stem.name + ending)) as part:
        write_raster(part, pixels, driver=driver)


@dataclass(frozen=True)
class TilesConfig:
    """Pairs, and the tiles that they are cut into.

    Attributes:
        source: folder that holds the three of --folders.
        out: folder to write.
        size: pixels a side.
        folders: names of the folders of first images, second images and labels.
        split: parts, and their shares of the pairs.
        seed: random seed of the division.
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


@command(TilesConfig, memory="--size")
def main(config: TilesConfig) -> None:
    """Cut, and say how many tiles there are."""
    counts = cut_pairs(
        config.source,
        config.out,
        size=config.size,
        folders=config.folders,
        split=dict(map(_share, config.split)) or None,
        seed=config.seed,
    )
    for part, count in counts.items():
        print(f"{config.out / part}: {count} tiles")


if __name__ == "__main__":
    main()
