"""What the numbers of an HDF5 dataset mean: packed values as NetCDF declares them, and labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from cmid.data.folder import number_labels
from cmid.data.values import UNSCALED, BandScale, ValueKind, missing_pixels, name_of_type

_MOST_CLASSES = 1_000_000


@dataclass(frozen=True)
class PackedValues:
    """How stored numbers become values.

    Attributes:
        kind: what the values are.
        missing: stored numbers that stand for no value.
        valid: smallest and largest stored number that is a value.
        scale: scale and offset of each band.
        unsigned: unsigned type that the stored bytes are meant in; None for the stored one.
    """

    kind: ValueKind
    missing: tuple[float, ...] = ()
    valid: tuple[float, float] | None = None
    scale: BandScale = UNSCALED
    unsigned: str | None = None

    def unpack(self, array: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Stored numbers ``(C, H, W)`` to uint8 or float32 values, and which are missing."""
        if self.unsigned:
            array = np.ascontiguousarray(array).view(self.unsigned)
        absent = [missing_pixels(array, [value] * len(array)) for value in self.missing]
        if self.valid is not None:
            absent.append((array < self.valid[0]) | (array > self.valid[1]))
        return self.scale.apply(array), np.logical_or.reduce(absent) if absent else None


def packed_values(dataset: h5py.Dataset, where: str, *, bands: int) -> PackedValues:
    """Read the attributes of a dataset of images.

    Args:
        where: names file and dataset, for messages.

    Raises:
        ValueError: complex numbers, or an attribute that is no number.
    """
    attributes = dataset.attrs
    dtype, unsigned = dataset.dtype, None
    if _text(attributes.get("_Unsigned", "")).lower() == "true" and dtype.kind == "i":
        unsigned = f"{dtype.byteorder.replace('|', '=')}u{dtype.itemsize}"
        dtype = np.dtype(unsigned)

    def numbers(name: str) -> tuple[float, ...]:
        try:
            values = np.asarray(attributes.get(name, ()))
            if unsigned and values.dtype.kind == "i":
                values = values.astype(np.dtype(f"i{dtype.itemsize}")).view(f"u{dtype.itemsize}")
            return tuple(float(value) for value in values.ravel())
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{where}: its attribute {name} is no number ({attributes[name]!r}): correct it"
            ) from error

    scale, offset = (numbers(name) for name in ("scale_factor", "add_offset"))
    for name, values in (("scale_factor", scale), ("add_offset", offset)):
        if len(values) not in (0, 1, bands):
            raise ValueError(f"{where}: its {name} has {len(values)} values for {bands} bands")
    packed = BandScale(
        scale * (bands // len(scale)) if scale else (1.0,) * bands,
        offset * (bands // len(offset)) if offset else (0.0,) * bands,
    )
    low, high = numbers("valid_min"), numbers("valid_max")
    valid = numbers("valid_range") or (*(low or (-np.inf,)), *(high or (np.inf,)))
    limited = len(valid) == 2 and valid != (-np.inf, np.inf)
    try:
        name = name_of_type(dtype)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return PackedValues(
        kind=ValueKind(name, packed.changes, _text(attributes.get("units", ""))),
        missing=tuple(dict.fromkeys(numbers("_FillValue") + numbers("missing_value"))),
        valid=(valid[0], valid[1]) if limited else None,
        scale=packed,
        unsigned=unsigned,
    )


def _text(value: Any) -> str:
    value = value[0] if isinstance(value, np.ndarray) and value.size == 1 else value
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    return text.strip()


def read_labels(
    dataset: h5py.Dataset, where: str, *, count: int
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Class indices and class names.

    Args:
        where: names file and dataset, for messages.
        count: number of images.

    Raises:
        ValueError: another number of labels, or labels that are neither whole numbers (-1 where an
            image has none), nor rows with one 1, nor texts.
    """
    shape = dataset.shape
    if shape is None or len(shape) not in (1, 2) or shape[0] != count:
        raise ValueError(f"{where} have shape {shape}, not ({count},)")
    if h5py.check_string_dtype(dataset.dtype) is not None:
        return _read_names(dataset, where, count=count)
    if dataset.dtype.kind not in "uifb":
        raise ValueError(f"{where} are {dataset.dtype}: give whole numbers or names")
    values = np.asarray(dataset)
    if values.ndim == 2 and values.shape[1] > 1:
        hot = values != 0
        if not ((values == 1) | ~hot).all() or (hot.sum(axis=1) != 1).any():
            raise ValueError(f"{where} of shape {shape}: each row needs one 1 and else 0")
        return hot.argmax(axis=1), tuple(str(i) for i in range(shape[1]))
    numbers = values.reshape(count)
    wrong = numbers[~(numbers == np.round(numbers)) | (numbers < -1) | (numbers > _MOST_CLASSES)]
    if len(wrong):
        raise ValueError(
            f"{where} hold {wrong[0]}: classes are whole numbers from 0 on, -1 where an image has"
            " none; or give names"
        )
    labels = numbers.astype(np.int64)
    return labels, tuple(str(i) for i in range(int(labels.max()) + 1))


def _read_names(
    dataset: h5py.Dataset, where: str, *, count: int
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    entries = np.asarray(dataset).reshape(-1)
    if len(entries) != count:
        raise ValueError(f"{where} have shape {dataset.shape}, not ({count},)")
    try:
        names = [e.decode() if isinstance(e, bytes) else str(e) for e in entries]
    except UnicodeDecodeError as error:
        raise ValueError(f"{where} are not UTF-8 ({error}): write them again") from error
    names = [name.strip("\0 ") for name in names]
    if "" in names:
        raise ValueError(f"{where}: entry {names.index('')} is empty: give each image a name")
    labels, classes = number_labels(names)
    return np.array(labels, dtype=np.int64), tuple(classes)
