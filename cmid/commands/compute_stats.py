"""Per-band statistics of images, as a JSON file for data.statistics.

python tools/compute_stats.py DIR --window 264 --bands 2 3 4 8 --out s2.json
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cmid.command_line import command
from cmid.options import at_least, option
from cmid.reporting import Row, Table, markdown_table

if TYPE_CHECKING:
    from cmid.data import ChannelStatistics


@dataclass(frozen=True)
class StatisticsConfig:
    """Images whose bands are measured.

    Attributes:
        source: folder of images, .txt/.csv list, .h5 file, .tar shards, or 'scenes'; with --window:
            GeoTIFF, folder of GeoTIFFs or a pattern.
        out: JSON file to write.
        window: cut windows of this many pixels from rasters.
        bands: bands of the rasters, by name or counted from 1.
        sensor: preset of the rasters, such as sentinel2_l2a, or a JSON file (cmid.data.sensors).
        nodata: overrides the rasters' nodata value.
        resolution: side of the pixels that rasters are resampled to, in their unit.
        max_images: read only so many images, drawn at random.
        on_error: unreadable images: stop, or count and leave out.
    """

    source: str
    out: str = option()
    window: Annotated[int, at_least(1)] | None = None
    bands: tuple[int | str, ...] | None = None
    sensor: str | None = None
    nodata: float | None = None
    resolution: float | None = None
    max_images: Annotated[int, at_least(1)] | None = None
    on_error: Literal["error", "skip"] = "error"

    def __post_init__(self) -> None:
        if Path(self.out).is_dir():
            raise ValueError(f"--out {self.out} is a folder: name a JSON file")
        of_rasters = self.bands, self.sensor, self.nodata, self.resolution
        if self.window is None and any(value is not None for value in of_rasters):
            raise ValueError(
                "--bands, --sensor, --nodata and --resolution are of rasters: give --window too"
            )


@command(StatisticsConfig, memory="--max_images, or --window")
def main(config: StatisticsConfig) -> None:
    """Compute, write JSON, print a table."""
    from cmid.data import compute_statistics, open_source

    of_rasters = ("window", "bands", "sensor", "nodata", "resolution")
    names = () if config.window is None else of_rasters
    source = open_source(config.source, **{name: getattr(config, name) for name in names})
    statistics = compute_statistics(source, max_images=config.max_images, on_error=config.on_error)
    statistics.to_json(config.out)
    print(_table(statistics))
    print(f"written: {config.out}")


def _table(statistics: ChannelStatistics) -> str:
    names = ("mean", "std", "low", "high", "minimum", "maximum")
    columns = (getattr(statistics, name) for name in names)
    rows = tuple(
        Row(str(band), tuple(f"{value:.4g}" for value in values))
        for band, values in enumerate(zip(*columns, strict=True), start=1)
    )
    return (
        f"{statistics.num_images} images ({statistics.num_skipped} unreadable),"
        f" {statistics.num_pixels} pixels, {statistics.kind}\n"
        f"{markdown_table(Table(('band', *names), rows), aligned=True)}"
    )
