"""The one interface of the data room: an indexable source of images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from torch import Tensor

from cmid.data.values import ValueKind

MinSize = tuple[float, float] | None
Draws = np.random.Generator | None


class UnreadableImageError(RuntimeError):
    """An image could not be decoded; the message is one line and names the file."""


@dataclass(frozen=True)
class Image:
    """One decoded image.

    Attributes:
        pixels: ``(C, H, W)`` in the dtype of the source: uint8, or float32 for everything wider
            (uint16 and int16 values are kept as they are, only stored as float32; where the file
            declares scale and offset, they are applied). Always finite.
        full_size: height and width in pixels of the image as it is stored. It differs from
            ``pixels.shape[-2:]`` where a large JPEG was decoded at a reduced scale.
        label: class index, -1 where the source has no labels.
        name: path or key, for messages.
        kind: what the numbers mean; None where the source does not say.
        missing: ``(C, H, W)`` bool, which pixels the file declares missing; they took the mean of
            their band's others. None where none are.
        second_date: the same place at another date, of the shape and dtype of ``pixels``; None
            where the source has one date.
    """

    pixels: Tensor
    full_size: tuple[int, int]
    label: int = -1
    name: str = ""
    kind: ValueKind | None = None
    missing: Tensor | None = None
    second_date: Tensor | None = None


Entry = TypeVar("Entry", covariant=True)


class IndexedSource(ABC, Generic[Entry]):
    """Entries by their number: what sources of images and of image-text data have in common.

    A source is cheap to pickle (it is sent to worker processes) and opens files lazily, once per
    process. The same ``(index, generator state)`` always gives the same entry.

    Attributes:
        num_bands: number of channels ``C`` of every image.
    """

    num_bands: int = 3

    @abstractmethod
    def __len__(self) -> int:
        """Number of entries (for windows cut from rasters: windows per epoch)."""

    def decode(self, index: int, min_size: MinSize, generator: Draws) -> Entry:
        """Decode one entry: what a source has to do; ``index`` lies in its range."""
        raise NotImplementedError(f"{type(self).__name__} has no method decode")

    def read(self, index: int, *, min_size: MinSize = None, generator: Draws = None) -> Entry:
        """Decode one entry.

        Args:
            index: ``0 <= index < len(self)``.
            min_size: smallest acceptable ``(height, width)`` of the decoded image. A decoder may
                use it to decode a large JPEG at a reduced scale, never below this size and never
                above the stored size. ``None`` asks for full resolution.
            generator: source of randomness for sources that draw (random windows); ``None``
                makes the result a function of ``index`` alone.

        Raises:
            IndexError: there is no entry of this number.
            UnreadableImageError: the file is missing, empty, truncated or not an image, has no
                valid pixel, or pixels that are neither finite nor declared missing.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"{type(self).__name__} has {len(self)} images, no number {index}")
        return self.decode(index, min_size, generator)

    def __getitem__(self, index: int) -> Entry:
        return self.read(index)


class ImageSource(IndexedSource[Image]):
    """An indexable source of images: folders, lists, HDF5, tar shards, GeoTIFF windows, scenes.

    Attributes:
        classes: class names; empty where there are no labels.
        sensor: name of the sensor (`cmid.data.sensors`), empty where it is not known.
        band_names: names of the bands in their order, empty where they are not known.
        reads_together: how many consecutive indices share what is decoded. Training takes such a
            run's images one soon after the other, in one process.
    """

    classes: Sequence[str] = ()
    sensor: str = ""
    band_names: tuple[str, ...] = ()
    reads_together: int = 1

    def for_run(self, generator: np.random.Generator) -> ImageSource:
        """This source, with the randomness that a run of ``reads_together`` indices shares."""
        return self


class WrappedSource(ImageSource):
    """Images of another source, changed or chosen by a subclass; by default as they are."""

    def __init__(self, source: ImageSource) -> None:
        self.source = source
        self.num_bands, self.classes = source.num_bands, source.classes
        self.sensor, self.band_names = source.sensor, source.band_names

    def __len__(self) -> int:
        return len(self.source)

    def decode(self, index: int, min_size: MinSize, generator: Draws) -> Image:
        return self.source.read(index, min_size=min_size, generator=generator)
