"""Per-band statistics computed from the images of a source."""

from __future__ import annotations

import logging
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from cmid.data.channel_statistics import MILLION_AID, ChannelStatistics
from cmid.data.source import Image, ImageSource, UnreadableImageError
from cmid.data.values import ImageValuesError, ValueKind, kind_of

__all__ = ["MILLION_AID", "ChannelStatistics", "compute_statistics"]
logger = logging.getLogger(__name__)

PERCENTILES = (1, 2, 25, 50, 75, 98, 99)
_SAMPLE_VALUES = 4_000_000


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
    fewer). Pixels that the file declares missing, or with a value that is not finite, do not count.
    The same arguments give the same result.

    Args:
        source: images of any size, all of one type and number of bands.
        max_images: read only so many, drawn without replacement.
        on_error: ``"skip"`` counts unreadable images instead of stopping.
        seed: random seed of all that is drawn.
        progress: show a bar.

    Raises:
        UnreadableImageError: with ``on_error="error"``, or if no image can be read.
        ImageValuesError: images of different types, scales, units, ranges or numbers of bands.
        ValueError: a constant band.
    """
    indices: NDArray[np.int64] = np.arange(len(source))
    if max_images is not None and max_images < len(source):
        generator = np.random.default_rng(seed)
        indices = np.sort(generator.choice(len(source), max_images, replace=False))
    totals: _Histogram | _Moments | None = None
    seen = _SeenKinds()
    skipped: list[str] = []
    for index in tqdm(indices.tolist(), desc="statistics", unit="image", disable=not progress):
        try:
            image = source.read(index, generator=np.random.default_rng((seed, index)))
        except UnreadableImageError as error:
            if on_error == "error":
                raise UnreadableImageError(
                    f"{error}; or count and skip such images with --on_error skip"
                ) from error
            skipped.append(str(error))
            continue
        seen.add(image)
        pixels = image.pixels.numpy()
        if totals is None:
            kind = _Histogram if pixels.dtype == np.uint8 else _Moments
            totals = kind(len(pixels), seed=seed)
        flat: NDArray[Any] = pixels.reshape(len(pixels), -1)  # (C, H*W)
        if image.missing is not None:
            flat = flat[:, ~image.missing.any(dim=0).flatten().numpy()]
        totals.add(flat)
    if totals is None or totals.count == 0:
        first = f": {skipped[0]}" if skipped else " or none has a valid pixel"
        raise UnreadableImageError(f"none of the {len(indices)} images could be read{first}")
    if skipped:
        logger.warning("%d unreadable images left out (first: %s)", len(skipped), skipped[0])
    num_images = len(indices) - len(skipped)
    found = _summary(totals, num_images=num_images, num_skipped=len(skipped), kind=seen.kind)
    return found.of_source(source)


class _SeenKinds:
    """The one kind of values that all images have; the first image that tells each part of it."""

    def __init__(self) -> None:
        self.kind: ValueKind | None = None
        self.name = ""
        self.bands = 0

    def add(self, image: Image) -> None:
        """Take an image in; raises ImageValuesError that names it and the one it differs from."""
        finite = image.pixels if image.kind is not None else image.pixels.nan_to_num(0, 0, 0)
        kind, bands = image.kind or kind_of(finite), len(image.pixels)
        if self.kind is None:
            self.kind, self.name, self.bands = kind, image.name, bands
        elif bands != self.bands or kind.differs(self.kind):
            raise ImageValuesError(
                f"{image.name} has {bands} bands of {kind}, the images before it ({self.name})"
                f" {self.bands} of {self.kind}: pretrain on them separately, or convert them"
            )
        elif (kind.unit and not self.kind.unit) or (kind.span and not self.kind.span):
            self.kind, self.name = kind, image.name


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
    totals: _Histogram | _Moments, *, num_images: int, num_skipped: int, kind: ValueKind | None
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
        kind=str(kind or ""),
    )
