"""What the numbers of an image mean: their type, scale, unit and range, and which are missing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Span = Literal["", "0 to 1", "0 to 255"]


@dataclass(frozen=True)
class ValueKind:
    """What the numbers of an image mean, as far as its file tells.

    Attributes:
        dtype: type that they are stored in, such as ``uint16``; ``float32`` stands for all floats.
        scaled: the scale and offset that the file declares were applied.
        unit: physical unit as the file declares it, empty where it does not.
        span: what the values of a float image without scale or unit look like: ``0 to 1``, or
            ``0 to 255`` for whole numbers, which are 8-bit ones in another type. Empty where the
            values are neither, or the type tells.
    """

    dtype: str
    scaled: bool = False
    unit: str = ""
    span: Span = ""

    @property
    def is_8bit(self) -> bool:
        """Whether the numbers are 0 to 255 on the usual scale of pictures."""
        return self.dtype == "uint8" and not self.scaled

    @property
    def is_physical(self) -> bool:
        """Whether the numbers are quantities, whatever type they were packed in."""
        return self.scaled or self.dtype == "float32"

    def differs(self, other: ValueKind) -> bool:
        """Whether numbers of the two must not be mixed; what one of them leaves open may differ."""
        if self.is_physical and other.is_physical:
            units = {self.unit, other.unit} - {""}
            spans = {self.span, other.span} - {""}
            return len(units) > 1 or len(spans) > 1
        return self.is_physical != other.is_physical or self.dtype != other.dtype

    def __str__(self) -> str:
        """In words; `parse` reads them back."""
        unit = f"in {self.unit}" if self.unit else ""
        words = (self.dtype, "scaled" if self.scaled else "", self.span, unit)
        return ", ".join(filter(None, words))

    @classmethod
    def parse(cls, text: str) -> ValueKind:
        """The inverse of ``str``."""
        dtype, *words = text.split(", ")
        unit = next((w.removeprefix("in ") for w in words if w.startswith("in ")), "")
        spans: Sequence[Span] = ("0 to 1", "0 to 255")
        span = next((span for span in spans if span in words), spans[0][:0])
        return cls(dtype, "scaled" in words, unit, span)  # type: ignore[arg-type]


UINT8 = ValueKind("uint8")


# No measured quantity is as large; such numbers mark missing pixels, or come of a fault.
_LARGEST = 1e30
_SAMPLE_STEP = 997


class ImageValuesError(ValueError):
    """The numbers of an image mean something else than is needed; one line that names the file.

    Never skipped: such an image is sound, the configuration is not.
    """


class NotFiniteError(ValueError):
    """Pixels are no numbers to work with: NaN, infinite or absurdly large, or all missing."""


def require_8bit(
    pixels: Tensor | NDArray[Any],
    name: str,
    *,
    bands: int | None = None,
    error: type[Exception] = ImageValuesError,
) -> None:
    """Refuse an image of other than 8-bit pixels: the one guard of what reads nothing else.

    Args:
        pixels: ``(C, H, W)``.
        name: name of the file, for messages.
        bands: number of bands that is needed; any by default.
        error: what is raised; `UnreadableImageError` lets ``on_error=skip`` pass the image over.
    """
    count, dtype = len(pixels), str(pixels.dtype).removeprefix("torch.")
    if dtype != "uint8" or bands not in (None, count):
        wanted = "8 bits" if bands is None else f"{bands} bands of 8 bits"
        found = "1 band" if count == 1 else f"{count} bands"
        raise error(f"{name} has {found} of {dtype}: convert it to {wanted}")


def kind_of(pixels: Tensor, stored: str = "", *, unit: str = "") -> ValueKind:
    """The kind of unscaled pixels, by their stored type and, for floats, their values.

    Args:
        pixels: ``(C, H, W)``, uint8 or float32.
        stored: type in the file; that of the pixels by default.
        unit: physical unit as the file declares it.

    Raises:
        NotFiniteError: a pixel is NaN, infinite or beyond 1e30 either way.
    """
    if pixels.dtype == torch.uint8:
        return UINT8
    lowest, highest = (float(value) for value in pixels.aminmax())
    if not (lowest >= -_LARGEST and highest <= _LARGEST):  # NaN neither
        found = "NaN" if math.isnan(lowest) else f"{lowest if lowest < -_LARGEST else highest:g}"
        raise NotFiniteError(
            f"has pixels of {found} that it does not declare missing: declare that as its nodata"
            " value (_FillValue in HDF5), or replace them"
        )
    dtype = name_of_type(stored or str(pixels.numpy().dtype))
    if dtype != "float32" or unit or lowest < 0 or highest > 255:
        return ValueKind(dtype, unit=unit)
    # A few pixels tell most images with fractions.
    some = pixels.flatten()[::_SAMPLE_STEP]
    whole = bool((some == some.round()).all()) and bool((pixels == pixels.round()).all())
    if highest <= 1:
        return ValueKind(dtype, span="" if whole else "0 to 1")
    return ValueKind(dtype, span="0 to 255" if whole else "")


def name_of_type(dtype: Any) -> str:
    """Name of a stored type; all floating ones are called float32.

    Raises:
        ValueError: complex numbers, or no numbers.
    """
    known = np.dtype("complex64" if str(dtype).startswith("complex") else dtype)
    if known.kind == "c":
        raise ValueError(
            f"{dtype} is complex: write its magnitude (or real and imaginary part) as bands"
        )
    if known.kind not in "uif":
        raise ValueError(f"{known} is no number: write uint8, another integer or float32")
    return "float32" if known.kind == "f" else known.newbyteorder("=").name


def missing_pixels(array: NDArray[Any], nodata: Sequence[float | None]) -> NDArray[np.bool_]:
    """Which values have the nodata value of their band, ``(C, H, W)`` bool.

    As 0 is both a usual nodata value and a usual colour, a uint8 pixel is missing only where all
    bands have the nodata value.

    Args:
        array: ``(C, H, W)`` as stored.
        nodata: value of each band that says so, NaN included, or None.
    """
    missing = np.zeros(array.shape, dtype=bool)
    for number, value in enumerate(nodata):
        if value is not None:
            band = array[number]
            missing[number] = np.isnan(band) if np.isnan(value) else band == value
    if array.dtype == np.uint8:
        missing[:] = missing.all(axis=0)
    return missing


def fill_missing(array: NDArray[Any], missing: NDArray[np.bool_]) -> NDArray[Any]:
    """Missing pixels of uint8 or float32 take the mean of their band's others, in place.

    In a band without any they take 0.
    """
    for band in np.flatnonzero(missing.any(axis=(1, 2))):
        found = array[band][~missing[band]]
        mean = found.mean(dtype=np.float64) if found.size else 0
        array[band][missing[band]] = np.rint(mean) if array.dtype == np.uint8 else mean
    return array


def filled(
    array: NDArray[Any], absent: NDArray[np.bool_] | None, kind: ValueKind
) -> tuple[Tensor, Tensor | None, ValueKind]:
    """Pixels of values with the missing ones filled, which those are, and what the pixels are.

    Args:
        array: ``(C, H, W)`` uint8 or float32 values; may be changed.
        absent: ``(C, H, W)``, which of them are missing.
        kind: what their file tells of them.

    Raises:
        NotFiniteError: as `kind_of`; or all are missing.
    """
    missing = None
    if absent is not None and absent.any():
        if absent.all():
            raise NotFiniteError(
                "has no valid pixel: check its nodata value (_FillValue in HDF5), or take it out"
            )
        array, missing = fill_missing(array, absent), torch.from_numpy(absent)
    pixels = torch.from_numpy(array)
    if not kind.is_8bit:
        found = kind_of(pixels, kind.dtype, unit=kind.unit)
        kind = kind if kind.scaled else found
    return pixels, missing, kind


@dataclass(frozen=True)
class BandScale:
    """Scale and offset of each band: ``quantity = stored * scale + offset``."""

    scales: tuple[float, ...]
    offsets: tuple[float, ...]

    @property
    def changes(self) -> bool:
        """Whether they change any number."""
        return any(scale != 1 for scale in self.scales) or any(self.offsets)

    def apply(self, array: NDArray[Any]) -> NDArray[Any]:
        """Stored numbers ``(C, H, W)`` to float32 quantities; uint8 that nothing changes stays."""
        if self.changes:
            factor, shift = (np.array(v)[:, None, None] for v in (self.scales, self.offsets))
            return (array * factor + shift).astype(np.float32)
        if array.dtype == np.uint8:
            return array
        with np.errstate(over="ignore"):  # infinity is an error all the same
            return array.astype(np.float32, copy=False)

    def __str__(self) -> str:
        pairs = dict.fromkeys(zip(self.scales, self.offsets, strict=True))
        return "; ".join(f"scale {scale:g}, offset {offset:g}" for scale, offset in pairs)


UNSCALED = BandScale((), ())
