"""Statistics of the bands of images, and which images they fit."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from cmid.data.source import Image, ImageSource, UnreadableImageError
from cmid.data.text_files import read_json
from cmid.data.values import UINT8, ImageValuesError, NotFiniteError, ValueKind, kind_of
from cmid.files import write_json


@dataclass(frozen=True)
class ChannelStatistics:
    """Statistics of each band.

    ``low`` and ``high``, in stored units, fix the unit scale ``(value - low) / (high - low)``: 0
    and 255 for uint8, the 1st and 99th percentile of the band otherwise. ``mean`` and ``std``
    belong to unit-scaled values; for 8-bit images they are the usual numbers in [0, 1].

    Attributes:
        mean, std: mean and deviation of unit-scaled values.
        low, high: range in stored units that is mapped to 0..1.
        dtype: ``uint8`` or ``float32`` (everything wider).
        minimum, maximum: extreme values in stored units.
        percentiles: percent to one value per band, in stored units.
        num_images, num_pixels: what was read; ``num_skipped``: images that could not be.
        kind: what the images' numbers mean, as `cmid.data.values.ValueKind` writes it; empty for
            statistics that were made before this was recorded.
        sensor: name of the sensor, empty where it is not known.
        bands: names of its bands in their order, empty where they are not known.

    Raises:
        ValueError: different numbers of bands, or a band without spread.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    dtype: str = "uint8"
    minimum: tuple[float, ...] = ()
    maximum: tuple[float, ...] = ()
    percentiles: dict[str, tuple[float, ...]] = field(default_factory=dict)
    num_images: int = 0
    num_pixels: int = 0
    num_skipped: int = 0
    kind: str = ""
    sensor: str = ""
    bands: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        bands = len(self.mean)
        if bands == 0 or not len(self.std) == len(self.low) == len(self.high) == bands:
            raise ValueError("statistics need mean, std, low and high for the same bands")
        for band in range(bands):
            if not self.std[band] > 0 or not self.high[band] > self.low[band]:
                raise ValueError(
                    f"band {band + 1} has std {self.std[band]} between {self.low[band]} and"
                    f" {self.high[band]}: a constant band teaches nothing, leave it out"
                )

    @property
    def is_8bit(self) -> bool:
        """Whether they are those of 8-bit images; where it is not recorded, the range tells."""
        if self.kind:
            return ValueKind.parse(self.kind).is_8bit
        return self.dtype == "uint8" and not any(self.low) and set(self.high) == {255.0}

    @property
    def mean_pixel(self) -> tuple[float, ...]:
        """Mean of each band, in stored units."""
        return tuple(
            low + mean * (high - low)
            for mean, low, high in zip(self.mean, self.low, self.high, strict=True)
        )

    def check_bands(self, sensor: str, bands: Sequence[str]) -> None:
        """Refuse other bands than those that are recorded, where both are known.

        Args:
            sensor: name of the images' sensor, empty where it is not known.
            bands: names of their bands, empty where they are not known.

        Raises:
            ImageValuesError: another sensor, other bands, or the same in another order.
        """
        mine, its = (self.sensor, self.bands), (sensor, tuple(bands))
        if any(a and b and a != b for a, b in zip(mine, its, strict=True)):
            wanted = ", ".join(self.bands)
            remedy = f"set bands=[{wanted}] of the source" if wanted else "give images of the same"
            if self.sensor and sensor and self.sensor != sensor:
                remedy = "give images of the same, or leave out sensor and bands of the source"
            raise ImageValuesError(
                f"the images have {_in_words(*its)}, the statistics (data.statistics, or those of"
                f" the backbone) are of {_in_words(*mine)}: {remedy}"
            )

    def of_source(self, source: ImageSource) -> ChannelStatistics:
        """The same with sensor and bands of a source, where they were not recorded."""
        names = source.band_names if len(source.band_names) == len(self.mean) else ()
        return replace(self, sensor=self.sensor or source.sensor, bands=self.bands or names)

    def check(self, image: Image) -> None:
        """Refuse an image whose numbers mean something else.

        Raises:
            ImageValuesError: other bands, type, scale, unit or range than the statistics'.
            UnreadableImageError: pixels of a source that does not check are not finite.
        """
        kind, wanted = image.kind, self._kind
        if kind is UINT8 and wanted is UINT8 and len(image.pixels) == len(self.mean):
            return  # nearly all images
        if len(image.pixels) != len(self.mean):
            raise ImageValuesError(
                f"{image.name} has {len(image.pixels)} bands, the statistics describe"
                f" {len(self.mean)}: give images of the same bands"
            )
        try:
            kind = kind or kind_of(image.pixels)
        except NotFiniteError as error:
            raise UnreadableImageError(f"{image.name} {error}") from error
        # Without a record they were made when no scale of a file was applied.
        misfit = kind.is_8bit or kind.scaled if wanted is None else kind.differs(wanted)
        if misfit:
            known = f"of {wanted} values" if wanted is not None else "of unscaled wide values"
            raise ImageValuesError(
                f"{image.name} holds {kind} values, the statistics (data.statistics, or those of"
                f" the backbone) are {known}: compute them from these images with"
                " tools/compute_stats.py, or convert the images"
            )

    @cached_property
    def _kind(self) -> ValueKind | None:
        """What they are of, None where that is not known."""
        if self.is_8bit:
            return UINT8
        return ValueKind.parse(self.kind) if self.kind else None

    def to_plain(self) -> dict[str, Any]:
        """What a standardisation needs, as plain values.

        They are mean, std, low and high; and kind, sensor and bands where they are known.
        """
        plain: dict[str, Any] = {
            name: [float(value) for value in getattr(self, name)]
            for name in ("mean", "std", "low", "high")
        }
        known = {"kind": self.kind, "sensor": self.sensor, "bands": [*self.bands]}
        return plain | {name: value for name, value in known.items() if value}

    @classmethod
    def of_8bit(cls, bands: int) -> ChannelStatistics:
        """Those that only say that images are 8-bit: mean and deviation are half the range."""
        half, nothing, most = (0.5,) * bands, (0.0,) * bands, (255.0,) * bands
        return cls(half, half, nothing, most, kind=str(UINT8))

    @classmethod
    def from_mapping(cls, source: Mapping[str, Any]) -> ChannelStatistics:
        """Read what `to_plain` gave; entries of other names are left out.

        ``low`` and ``high`` are missing for 8-bit images; ``kind``, ``sensor`` and ``bands`` where
        they were not recorded: the range then tells 8-bit images.

        Raises:
            ValueError: different numbers of bands, or a band without spread.
        """
        bands = len(source["mean"])

        def of(key: str, default: float = 0.0) -> tuple[float, ...]:
            return tuple(float(value) for value in source.get(key, [default] * bands))

        kind = str(source.get("kind") or "")
        made = cls(
            *(of("mean"), of("std"), of("low"), of("high", 255.0)),
            kind=kind,
            sensor=str(source.get("sensor") or ""),
            bands=tuple(map(str, source.get("bands") or ())),
        )
        return made if made.is_8bit else replace(made, dtype="float32")

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write to a temporary name beside ``path``, then rename."""
        write_json(path, asdict(self))

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> ChannelStatistics:
        """Read what `to_json` wrote.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not statistics; the message names the file.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"statistics {path} do not exist: run tools/compute_stats.py")
        try:
            content = read_json(path)
            percentiles = {k: tuple(v) for k, v in content.pop("percentiles", {}).items()}
            values: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in content.items()
            }
            return cls(**values, percentiles=percentiles)
        except (TypeError, AttributeError, ValueError) as error:
            raise ValueError(
                f"{path} holds no channel statistics ({error}): run tools/compute_stats.py"
            ) from error


def _in_words(sensor: str, bands: Sequence[str]) -> str:
    return " of ".join(filter(None, (f"bands {', '.join(bands)}" if bands else "", sensor)))


MILLION_AID = ChannelStatistics(
    mean=(0.33797, 0.3605, 0.3348),
    std=(0.1359, 0.1352, 0.1407),
    low=(0.0, 0.0, 0.0),
    high=(255.0, 255.0, 255.0),
    kind="uint8",
)
"""Published statistics of MillionAID (arXiv:2304.09670), the default for 8-bit RGB."""
