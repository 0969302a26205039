"""What a map holds, classes, similarities or embeddings, in the form that a raster stores."""

from __future__ import annotations

import colorsys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cmid.inference.streaming import Piece


@dataclass(frozen=True)
class Product(ABC):
    """One raster of a map.

    Attributes:
        names: of what the model tells: classes, or dimensions of embeddings.
    """

    names: tuple[str, ...]

    name = ""
    dtype = "uint8"
    nodata: ClassVar[float] = 255
    resampling: ClassVar[Literal["nearest", "average", "mode"]] = "nearest"
    block = 512  # side of the file's tiles; a reader of one pixel holds a tile with all bands

    @abstractmethod
    def bands(self, piece: Piece) -> NDArray[Any]:
        """``(count, rows, columns)`` of ``dtype``, with ``nodata`` where nothing is known."""

    @property
    def descriptions(self) -> tuple[str, ...]:
        """What each band is."""
        return self.names

    @property
    def creation(self) -> dict[str, Any]:
        """Options of GDAL's GTiff driver."""
        return {"compress": "deflate", "predictor": "yes"}

    def describe(self, file: Any) -> None:
        """Tell an open raster what its numbers mean."""
        file.descriptions = self.descriptions


@dataclass(frozen=True)
class Classes(Product):
    """The likeliest class, with names and colours.

    Attributes:
        colours: red, green and blue of each class, 0 to 255; else hues around the circle.
        members: the class of each number of a cell, where classes have several names.
    """

    colours: Sequence[tuple[int, int, int]] | None = None
    members: tuple[int, ...] = ()

    name = "classes"
    resampling = "mode"

    def __post_init__(self) -> None:
        if len(self.names) > 255:
            raise ValueError(f"a map holds 255 classes at most, not {len(self.names)}")

    def bands(self, piece: Piece) -> NDArray[Any]:
        found = piece.values.argmax(axis=0).astype(np.uint8)
        found = np.array(self.members, dtype=np.uint8)[found] if self.members else found
        found[piece.missing] = 255
        return found[None]

    @property
    def descriptions(self) -> tuple[str, ...]:
        return ("class",)

    @property
    def creation(self) -> dict[str, Any]:
        return {"compress": "deflate"}

    def describe(self, file: Any) -> None:
        super().describe(file)
        hues = [colorsys.hsv_to_rgb(n / len(self.names), 0.7, 0.9) for n in range(len(self.names))]
        colours = self.colours or [
            (round(255 * r), round(255 * g), round(255 * b)) for r, g, b in hues
        ]
        file.write_colormap(1, {n: (*colour, 255) for n, colour in enumerate(colours)})
        file.update_tags(1, **{f"class_{n}": name for n, name in enumerate(self.names)})


@dataclass(frozen=True)
class Probabilities(Product):
    """The probability of each class in steps of 1/254, by softmax of what the model says."""

    name = "probabilities"
    resampling = "average"

    def bands(self, piece: Piece) -> NDArray[Any]:
        raised = np.exp(piece.values - piece.values.max(axis=0))
        found = np.rint(254 * raised / raised.sum(axis=0)).astype(np.uint8)
        found[:, piece.missing] = 255
        return found

    def describe(self, file: Any) -> None:
        super().describe(file)
        file.scales = (1 / 254,) * len(self.names)


@dataclass(frozen=True)
class Similarities(Product):
    """Cosine similarities to texts in steps of 1/10000; of a class the largest of its names.

    Attributes:
        members: the class of each number of a cell, where classes have several names.
    """

    members: tuple[int, ...] = ()

    name = "similarity"
    dtype = "int16"
    nodata: ClassVar[float] = -32768
    resampling = "average"

    def bands(self, piece: Piece) -> NDArray[Any]:
        values = piece.values
        if self.members:
            owners = np.array(self.members)
            values = np.stack([values[owners == k].max(axis=0) for k in range(len(self.names))])
        found = np.rint(10_000 * values).astype(np.int16)
        found[:, piece.missing] = -32768
        return found

    def describe(self, file: Any) -> None:
        super().describe(file)
        file.scales = (1e-4,) * len(self.names)


@dataclass(frozen=True)
class Embeddings(Product):
    """Features in half precision, which no type of GeoTIFF has: as float32 whose last bits are 0.

    GDAL's option ``NBITS=16`` would store two bytes, but leaves what lies beside the last tiles as
    it is in memory, so that equal maps have unequal files.
    """

    name = "embeddings"
    dtype = "float32"
    nodata: ClassVar[float] = float("nan")
    resampling = "average"
    block = 128

    def bands(self, piece: Piece) -> NDArray[Any]:
        found = piece.values.astype(np.float16).astype(np.float32)
        found[:, piece.missing] = np.nan
        return found


@dataclass(frozen=True)
class SmallEmbeddings(Product):
    """Features as 8-bit numbers, with a scale for each dimension.

    Attributes:
        scales: the feature that 1 stands for; larger ones than 127 times it are cut off.
    """

    scales: tuple[float, ...] = ()

    name = "embeddings"
    dtype = "int8"
    nodata: ClassVar[float] = -128
    resampling = "average"
    block = 128

    def bands(self, piece: Piece) -> NDArray[Any]:
        scales = np.array(self.scales, dtype=np.float32)[:, None, None]
        found = np.rint(piece.values / scales).clip(-127, 127).astype(np.int8)
        found[:, piece.missing] = -128
        return found

    @property
    def creation(self) -> dict[str, Any]:
        return {"compress": "deflate"}

    def describe(self, file: Any) -> None:
        super().describe(file)
        file.scales = self.scales
