"""Prepare Potsdam, Vaihingen, LoveDA or iSAID for segmentation: img_dir and ann_dir.

python tools/prepare_segmentation.py potsdam   DOWNLOADS data/potsdam
python tools/prepare_segmentation.py vaihingen DOWNLOADS data/vaihingen
python tools/prepare_segmentation.py loveda    DOWNLOADS data/loveda
python tools/prepare_segmentation.py isaid     DOWNLOADS data/isaid

DOWNLOADS holds the archives of the authors, unpacked: 2_Ortho_RGB and 5_Labels_all_noBoundary of
Potsdam; top/ and the eroded COMPLETE ground truth of Vaihingen; Train, Val, Test of LoveDA; train
and val, each with images and Semantic_masks, of iSAID. Other files there do no harm.

ISPRS images are cut to 512 pixels without overlap, those of iSAID to 896 pixels every 512, as by
mmsegmentation's converters. Masks of colours become masks of labels: ISPRS and LoveDA from 1, with
0 for pixels to ignore; iSAID from 0, with 255. Clutter and background are kept: configurations say
whether they count (those of Potsdam and Vaihingen ignore clutter), or --ignore drops them for good.

Ends with the number of tiles, the pixels of each class and a SHA-256 of all pixels, also in
OUT/data.json. A second call goes on where the first one stopped.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Literal

from cmid.command_line import command
from cmid.options import at_least, option


@dataclass(frozen=True)
class PlacesConfig:
    """Where the data is, and where it goes.

    Attributes:
        downloads: folder with the unpacked archives.
        out: folder to write.
        workers: processes.
    """

    downloads: str
    out: str
    workers: Annotated[int, at_least(1)] = 4


@dataclass(frozen=True)
class DatasetConfig:
    """A data set and how its images and masks are prepared.

    Attributes:
        dataset: name of the data set.
        size: side of tiles in pixels (default: as usual).
        stride: pixels from tile to tile (default: as usual, or the size).
        labels: masks of ISPRS.
        composite: images of Potsdam.
        unknown: colours that no class has.
        ignore: classes whose pixels are ignored.
        without: images to leave out, such as 7_10.
    """

    dataset: Literal["potsdam", "vaihingen", "loveda", "isaid"]
    size: Annotated[int, at_least(1)] | None = None
    stride: Annotated[int, at_least(1)] | None = None
    labels: Literal["eroded", "full"] = "eroded"
    composite: Literal["RGB", "IRRG", "RGBIR"] = "RGB"
    unknown: Literal["error", "ignore", "nearest"] = "error"
    ignore: tuple[str, ...] = option((), metavar="CLASS")
    without: tuple[str, ...] = option((), metavar="IMAGE")


@command(
    DatasetConfig,
    PlacesConfig,
    memory="--workers",
    again="the same command goes on where it stopped",
)
def main(config: DatasetConfig, places: PlacesConfig) -> None:
    """Prepare, print what came out."""
    from benchmarks.segmentation.preparation import PreparationConfig, prepare, report

    job = PreparationConfig(**asdict(config))
    prepared = prepare(job, places.downloads, places.out, workers=places.workers)
    print(*report(job, prepared), sep="\n")
