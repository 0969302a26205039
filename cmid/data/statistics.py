"""Per-band statistics of a source, and the scale that colour and standardisation work on."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm.auto import tqdm

from cmid.data.source import ImageSource, UnreadableImageError

PERCENTILES = (1, 2, 25, 50, 75, 98, 99)
_PIXELS_KEPT_PER_IMAGE = 1024


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
        if min(self.std) <= 0:
            band = int(np.argmin(self.std)) + 1
            raise ValueError(f"band {band} has standard deviation {min(self.std)}: leave it out")

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write to a temporary name beside ``path``, then rename."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.part")
        partial.write_text(json.dumps(asdict(self), indent=2) + "\n")
        os.replace(partial, path)

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
        except (json.JSONDecodeError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{path} holds no channel statistics: {error}") from error


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
    """Statistics over all pixels of a source, or of a random part of it.

    Means, deviations and extremes are exact (float64, merged image by image); percentiles come from
    at most 1024 random pixels of each image.

    Args:
        max_images: read only so many, evenly drawn.
        on_error: ``skip`` counts unreadable images instead of stopping.
        progress: show a bar.

    Raises:
        UnreadableImageError: with ``on_error="error"``, or if no image can be read.
    """
    generator = np.random.default_rng(seed)
    indices: np.ndarray = np.arange(len(source))
    if max_images is not None and max_images < len(source):
        indices = np.sort(generator.choice(len(source), max_images, replace=False))
    moments = _Moments(source.num_bands)
    kept: list[np.ndarray] = []
    skipped, dtype = 0, "uint8"
    for index in tqdm(indices, desc="statistics", unit="image", disable=not progress):
        try:
            pixels = source.read(int(index)).pixels.numpy()
        except UnreadableImageError:
            if on_error == "error":
                raise
            skipped += 1
            continue
        dtype = str(pixels.dtype)
        flat = pixels.reshape(len(pixels), -1)  # (C, H*W)
        moments.add(flat)
        chosen = generator.integers(flat.shape[1], size=min(_PIXELS_KEPT_PER_IMAGE, flat.shape[1]))
        kept.append(flat[:, chosen])
    if not kept:
        raise UnreadableImageError(f"none of the {len(indices)} images could be read")
    return _summary(moments, np.concatenate(kept, axis=1), dtype=dtype, skipped=skipped)


class _Moments:
    """Count, mean, squared deviations of each band, merged image by image (Chan et al., 1979)."""

    def __init__(self, bands: int) -> None:
        self.images = self.count = 0
        self.mean = np.zeros(bands)
        self.squares = np.zeros(bands)
        self.minimum = np.full(bands, np.inf)
        self.maximum = np.full(bands, -np.inf)

    def add(self, flat: np.ndarray) -> None:
        values = flat.astype(np.float64)
        count, mean = values.shape[1], values.mean(axis=1)
        total, delta = self.count + count, mean - self.mean
        self.squares += ((values - mean[:, None]) ** 2).sum(axis=1)
        self.squares += delta**2 * self.count * count / total
        self.mean += delta * count / total
        self.count, self.images = total, self.images + 1
        self.minimum = np.minimum(self.minimum, values.min(axis=1))
        self.maximum = np.maximum(self.maximum, values.max(axis=1))


def _summary(
    moments: _Moments, pixels: np.ndarray, *, dtype: str, skipped: int
) -> ChannelStatistics:
    table = dict(zip(PERCENTILES, np.percentile(pixels, PERCENTILES, axis=1), strict=True))
    bands = len(moments.mean)
    low, high = (
        (np.zeros(bands), np.full(bands, 255.0)) if dtype == "uint8" else (table[1], table[99])
    )
    # A band with one value in nearly all pixels has no percentile range to scale by.
    high = np.where(high > low, high, low + 1)
    std = np.sqrt(moments.squares / moments.count)
    return ChannelStatistics(
        mean=tuple(((moments.mean - low) / (high - low)).tolist()),
        std=tuple((std / (high - low)).tolist()),
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
        dtype=dtype,
        minimum=tuple(moments.minimum.tolist()),
        maximum=tuple(moments.maximum.tolist()),
        percentiles={str(percent): tuple(values.tolist()) for percent, values in table.items()},
        num_images=moments.images,
        num_pixels=moments.count,
        num_skipped=skipped,
    )
