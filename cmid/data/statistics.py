"""Per-band statistics of a source, and the scale that colour and standardisation work on."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from cmid.data.source import ImageSource, UnreadableImageError
from cmid.files import write_text

PERCENTILES = (1, 2, 25, 50, 75, 98, 99)
_SAMPLE_VALUES = 4_000_000


@dataclass(frozen=True)
class ChannelStatistics:
    """Statistics of each band.

    ``low`` and ``high``, in stored units, fix the unit scale ``(value - low) / (high - low)``: 0
    and 255 for uint8, the 1st and 99th percentile of the band otherwise. ``mean`` and ``std``
    belong to unit-scaled values; for 8-bit images they are the usual numbers in [0, 1].

    Attributes:
        mean, std: of unit-scaled values.
        low, high: in stored units.
        dtype: ``uint8`` or ``float32`` (everything wider).
        minimum, maximum: in stored units.
        percentiles: percent to one value per band, in stored units.
        num_images, num_pixels: that were read; ``num_skipped``: that could not be.

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

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write to a temporary name beside ``path``, then rename."""
        write_text(path, json.dumps(asdict(self), indent=2) + "\n")

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
            content = json.loads(Path(path).read_text())
            percentiles = {k: tuple(v) for k, v in content.pop("percentiles", {}).items()}
            values: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in content.items()
            }
            return cls(**values, percentiles=percentiles)
        except (TypeError, AttributeError, ValueError) as error:
            raise ValueError(
                f"{path} holds no channel statistics ({error}): run tools/compute_stats.py"
            ) from error


MILLION_AID = ChannelStatistics(
    mean=(0.33797, 0.3605, 0.3348),
    std=(0.1359, 0.1352, 0.1407),
    low=(0.0, 0.0, 0.0),
    high=(255.0, 255.0, 255.0),
)
"""Published statistics of MillionAID (arXiv:2304.09670), the default for 8-bit RGB."""


def compute_statistics(
    source: ImageSource,
    *,
    max_images: int | None = None,
    on_error: Literal["error", "skip"] = "error",
    seed: int = 0,
    progress: bool = True,
) -> ChannelStatistics:
    """Statistics over all pixels of a source, or of a random part of its images.

    Mean, deviation and extremes are exact. Percentiles are exact for uint8; otherwise they come
    from a uniform sample of all pixels, four million values at most (all of them if there are
    fewer). Pixels with a value that is not finite do not count. The same arguments give the same
    result.

    Args:
        source: of images of any size, all of one type and number of bands.
        max_images: read only so many, drawn without replacement.
        on_error: ``"skip"`` counts unreadable images instead of stopping.
        seed: of all that is drawn.
        progress: show a bar.

    Raises:
        UnreadableImageError: with ``on_error="error"``, or if no image can be read.
        ValueError: images of different types or numbers of bands, or a constant band.
    """
    indices: NDArray[np.int64] = np.arange(len(source))
    if max_images is not None and max_images < len(source):
        generator = np.random.default_rng(seed)
        indices = np.sort(generator.choice(len(source), max_images, replace=False))
    totals: _Histogram | _Moments | None = None
    skipped = 0
    for index in tqdm(indices.tolist(), desc="statistics", unit="image", disable=not progress):
        try:
            image = source.read(index, generator=np.random.default_rng((seed, index)))
        except UnreadableImageError:
            if on_error == "error":
                raise
            skipped += 1
            continue
        pixels = image.pixels.numpy()
        if totals is None:
            kind = _Histogram if pixels.dtype == np.uint8 else _Moments
            totals = kind(len(pixels), seed=seed)
        if len(pixels) != totals.bands or str(pixels.dtype) != totals.dtype:
            raise ValueError(
                f"{image.name} has {len(pixels)} bands of {pixels.dtype}, the images before it"
                f" {totals.bands} of {totals.dtype}: pretrain on them separately"
            )
        totals.add(pixels.reshape(len(pixels), -1))  # (C, H*W)
    if totals is None or totals.count == 0:
        raise UnreadableImageError(f"none of the {len(indices)} images could be read")
    return _summary(totals, num_images=len(indices) - skipped, num_skipped=skipped)


class _Histogram:
    """How often each band has each of the 256 values: all statistics follow exactly."""

    dtype = "uint8"

    def __init__(self, bands: int, *, seed: int) -> None:
        self.bands = bands
        self.counts = np.zeros((bands, 256), dtype=np.int64)

    def add(self, flat: NDArray[Any]) -> None:
        for band, values in enumerate(flat):
            self.counts[band] += np.bincount(values, minlength=256)

    @property
    def count(self) -> int:
        return int(self.counts[0].sum())

    def mean_and_std(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        mean = self.counts @ np.arange(256) / self.count
        squares = (np.arange(256) - mean[:, None]) ** 2
        return mean, np.sqrt((self.counts * squares).sum(axis=1) / self.count)

    def extremes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        percentiles = self.percentiles((0, 100))
        return percentiles[0], percentiles[1]

    def percentiles(self, percents: tuple[int, ...]) -> NDArray[np.float64]:
        """``(len(percents), C)``, interpolated between pixels as NumPy does."""
        rank = np.array(percents) / 100 * (self.count - 1)
        below, above = np.floor(rank), np.ceil(rank)
        rows = []
        for cumulative in np.cumsum(self.counts, axis=1):
            lower = np.searchsorted(cumulative, below, side="right")
            upper = np.searchsorted(cumulative, above, side="right")
            rows.append(lower + (upper - lower) * (rank - below))
        return np.stack(rows, axis=1)


class _Moments:
    """Mean and squared deviations merged image by image (Chan et al., 1979), and a pixel sample.

    Every pixel draws a number; those with the smallest numbers are kept. So each has the same
    chance, whatever the sizes and the order of the images.
    """

    dtype = "float32"

    def __init__(self, bands: int, *, seed: int) -> None:
        self.bands = bands
        self.count = 0
        self.mean: NDArray[np.float64] = np.zeros(bands)
        self.squares: NDArray[np.float64] = np.zeros(bands)
        self.minimum: NDArray[np.float64] = np.full(bands, np.inf)
        self.maximum: NDArray[np.float64] = np.full(bands, -np.inf)
        self.generator = np.random.default_rng((seed, bands))
        self.capacity = max(1, _SAMPLE_VALUES // bands)
        self.limit = 1.0
        self.draws: NDArray[np.float64] = np.empty(0)
        self.sample: NDArray[np.float32] = np.empty((bands, 0), dtype=np.float32)
        self.waiting: list[tuple[NDArray[np.float64], NDArray[np.float32]]] = []

    def add(self, flat: NDArray[Any]) -> None:
        flat = flat[:, np.isfinite(flat).all(axis=0)]
        count = flat.shape[1]
        if count == 0:
            return
        values = flat.astype(np.float64)
        total, mean = self.count + count, values.mean(axis=1)
        delta = mean - self.mean
        self.squares += ((values - mean[:, None]) ** 2).sum(axis=1)
        self.squares += delta**2 * (self.count * count / total)
        self.mean += delta * (count / total)
        self.count = total
        self.minimum = np.minimum(self.minimum, values.min(axis=1))
        self.maximum = np.maximum(self.maximum, values.max(axis=1))
        draws = self.generator.random(count)
        chosen = draws < self.limit
        self.waiting.append((draws[chosen], flat[:, chosen]))
        # Sorting out only now and then keeps the cost per pixel constant.
        if sum(len(draws) for draws, _ in self.waiting) > self.capacity:
            self._sort_out()

    def _sort_out(self) -> None:
        self.draws = np.concatenate([self.draws, *(draws for draws, _ in self.waiting)])
        self.sample = np.concatenate([self.sample, *(flat for _, flat in self.waiting)], axis=1)
        self.waiting = []
        if len(self.draws) > self.capacity:
            kept = np.argpartition(self.draws, self.capacity - 1)[: self.capacity]
            self.draws, self.sample = self.draws[kept], self.sample[:, kept]
            self.limit = float(self.draws.max())

    def mean_and_std(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return self.mean, np.sqrt(self.squares / self.count)

    def extremes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return self.minimum, self.maximum

    def percentiles(self, percents: tuple[int, ...]) -> NDArray[np.float64]:
        self._sort_out()
        return np.percentile(self.sample.astype(np.float64), percents, axis=1)


def _summary(
    totals: _Histogram | _Moments, *, num_images: int, num_skipped: int
) -> ChannelStatistics:
    table = dict(zip(PERCENTILES, totals.percentiles(PERCENTILES), strict=True))
    mean, std = totals.mean_and_std()
    minimum, maximum = totals.extremes()
    low: NDArray[Any] = np.zeros(totals.bands)
    high: NDArray[Any] = np.full(totals.bands, 255.0)
    if totals.dtype != "uint8":
        # A band with one value in nearly all pixels has no percentile range to scale by.
        spread = table[99] > table[1]
        low, high = np.where(spread, table[1], minimum), np.where(spread, table[99], maximum)
    span = np.where(high > low, high - low, 1)
    return ChannelStatistics(
        mean=tuple(((mean - low) / span).tolist()),
        std=tuple((std / span).tolist()),
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
        dtype=totals.dtype,
        minimum=tuple(minimum.tolist()),
        maximum=tuple(maximum.tolist()),
        percentiles={str(percent): tuple(values.tolist()) for percent, values in table.items()},
        num_images=num_images,
        num_pixels=totals.count,
        num_skipped=num_skipped,
    )
