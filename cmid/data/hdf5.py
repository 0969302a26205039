"""Images in one HDF5 file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal
from weakref import WeakSet

import h5py
import numpy as np
from numpy.typing import NDArray

from cmid.data.decoding import read_image
from cmid.data.hdf5_values import PackedValues, packed_values, read_labels
from cmid.data.sensors import find_sensor
from cmid.data.source import Draws, Image, ImageSource, MinSize, UnreadableImageError
from cmid.data.values import NotFiniteError, filled


class HDF5Images(ImageSource):
    """Images of an HDF5 dataset: arrays, or encoded files.

    The file is opened on first use in each process.

    Args:
        path: the file.
        images: name of the dataset: ``(N, H, W, C)`` or ``(N, C, H, W)`` numbers, ``(N, H, W)``
            grey (repeated to three bands), or ``(N,)`` variable-length bytes of encoded images.
            uint8 is kept, other numbers become float32. The attributes of NetCDF count:
            ``scale_factor``, ``add_offset`` and ``units``; ``_FillValue``, ``missing_value`` and
            values outside ``valid_range`` are missing as nodata of a raster is.
        labels: name of a dataset of ``(N,)`` whole numbers, ``(N, K)`` with one 1 a row, or names
            numbered in sorted order.
        layout: order of the axes of arrays; ``"auto"`` takes the shorter one of the second and the
            last axis for the channels, the last one if they are equal.
        sensor: what made the images: a preset of `cmid.data.sensors`, or a JSON file.
        bands: names of the channels in their order; by default the sensor's bands, if the images
            have as many.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: not HDF5, no such dataset, or a shape or type that is none of the above; names
            file and dataset.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        images: str = "images",
        labels: str | None = None,
        layout: Literal["auto", "NHWC", "NCHW"] = "auto",
        sensor: str = "",
        bands: Sequence[str] = (),
    ) -> None:
        self.path = Path(path)
        self.images = images
        self._file: h5py.File | None = None
        self._dataset: h5py.Dataset | None = None
        if not self.path.is_file():
            raise FileNotFoundError(f"HDF5 file {self.path} does not exist")
        try:
            file = h5py.File(self.path, "r")
        except OSError as error:
            raise ValueError(
                f"{self.path} is not a readable HDF5 file ({error}): write or copy it again"
            ) from error
        with file:
            dataset = _find(file, images, self.path)
            self._length, *shape = self._checked_shape(dataset)
            auto = layout == "auto" and (len(shape) < 3 or shape[2] <= shape[0])
            self.channels_last = layout == "NHWC" or auto
            if len(shape) == 3:
                self.num_bands = shape[2] if self.channels_last else shape[0]
            self.values: PackedValues | None = None
            where = f"{self.path}: dataset '{images}'"
            if not self.encoded:
                self.values = packed_values(dataset, where, bands=self.num_bands)
            self._name_bands(sensor, bands)
            self.labels: NDArray[np.int64] | None = None
            if labels is not None:
                where = f"{self.path}: labels '{labels}'"
                stored = _find(file, labels, self.path)
                self.labels, self.classes = read_labels(stored, where, count=self._length)

    def _name_bands(self, sensor: str, bands: Sequence[str]) -> None:
        """Set ``sensor`` and ``band_names``; raises ValueError for another number of bands."""
        known = find_sensor(sensor) if sensor else None
        if known is not None:
            self.sensor = known.name
            bands = tuple(known.band(name).name for name in bands)
            if not bands and len(known.bands) == self.num_bands:
                bands = known.names
        if bands and len(bands) != self.num_bands:
            raise ValueError(
                f"{self.path}: '{self.images}' has {self.num_bands} bands, bands names {len(bands)}"
            )
        self.band_names = tuple(bands)

    def _checked_shape(self, dataset: h5py.Dataset) -> tuple[int, ...]:
        """Shape of a dataset of images; raises ValueError for one of anything else."""
        shape = dataset.shape
        self.encoded = shape is not None and len(shape) == 1 and _holds_bytes(dataset)
        if (
            shape is None
            or dataset.dtype.kind not in "uifO"
            or (len(shape) not in (3, 4) and not self.encoded)
        ):
            raise ValueError(
                f"{self.path}: dataset '{self.images}' of {dataset.dtype}"
                f" {'without values' if shape is None else shape} holds no images: give"
                " (N, H, W, C), (N, C, H, W), (N, H, W) or encoded (N,)"
            )
        if 0 in shape:
            raise ValueError(
                f"{self.path}: dataset '{self.images}' of shape {shape} is empty: write images"
            )
        filters = dataset.id.get_create_plist()
        for number in range(filters.get_nfilters()):
            code, _, _, title = filters.get_filter(number)
            if not h5py.h5z.filter_avail(code):
                raise ValueError(
                    f"{self.path}: dataset '{self.images}' is compressed with"
                    f" {title.decode(errors='replace') or 'a filter'} ({code}), which is not"
                    " installed: import a plugin for it, or write it with gzip"
                )
        return tuple(shape)

    def __len__(self) -> int:
        return self._length

    def decode(self, index: int, min_size: MinSize, generator: Draws) -> Image:
        name = f"{self.path}:{self.images}[{index}]"
        label = -1 if self.labels is None else int(self.labels[index])
        try:
            entry = self._open()[index]
        except OSError as error:
            raise UnreadableImageError(
                f"{name}: {str(error).splitlines()[0]}; write or copy the file again"
            ) from error
        if self.values is None:
            data = entry if isinstance(entry, bytes) else np.asarray(entry, np.uint8).tobytes()
            image = read_image(data, name=name, min_size=min_size, num_bands=self.num_bands)
            return replace(image, label=label)
        array = np.asarray(entry)
        if array.ndim == 2:
            array = np.repeat(array[None], self.num_bands, axis=0)
        elif self.channels_last:
            array = array.transpose(2, 0, 1)
        return replace(self._interpret(array, self.values, name), label=label)

    def _interpret(self, array: NDArray[Any], values: PackedValues, name: str) -> Image:
        """The image of the stored numbers ``(C, H, W)``."""
        try:
            pixels, missing, kind = filled(*values.unpack(array), values.kind)
        except NotFiniteError as error:
            raise UnreadableImageError(f"{name} {error}") from error
        size = (pixels.shape[1], pixels.shape[2])
        return Image(pixels, size, name=name, kind=kind, missing=missing)

    def _open(self) -> h5py.Dataset:
        if self._dataset is None:
            self._file = h5py.File(self.path, "r")
            self._dataset = self._file[self.images]
            _OPENED.add(self)
        return self._dataset

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        if self._file is not None:
            self._file.close()
        self._file = self._dataset = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None, "_dataset": None}


def _find(file: h5py.File, name: str, path: Path) -> h5py.Dataset:
    """The dataset of a name; raises ValueError where there is none, or its link is broken."""
    try:
        found = file.get(name)
    except (KeyError, OSError, RuntimeError) as error:  # an external link to nothing
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path}: '{name}' cannot be opened ({reason}): restore it") from error
    if isinstance(found, h5py.Dataset):
        return found
    if isinstance(found, h5py.Group):
        inner = ", ".join(f"{name}/{key}" for key in sorted(found)) or "nothing"
        raise ValueError(f"{path}: '{name}' is a group: name a dataset of it; it holds {inner}")
    link = file.get(name, getlink=True) if name in file or _is_link(file, name) else None
    if isinstance(link, h5py.SoftLink | h5py.ExternalLink):
        target = getattr(link, "filename", "") + ":" + link.path
        raise ValueError(f"{path}: '{name}' is a link to {target.lstrip(':')}, which is not there")
    held = ", ".join(sorted(file)) or "nothing"
    raise ValueError(f"{path} has no dataset '{name}'; it holds {held}")


def _is_link(file: h5py.File, name: str) -> bool:
    try:
        return isinstance(file.get(name, getlink=True), h5py.SoftLink | h5py.ExternalLink)
    except (KeyError, ValueError):
        return False


def _holds_bytes(dataset: h5py.Dataset) -> bool:
    element = h5py.check_vlen_dtype(dataset.dtype)
    return element == np.uint8 or h5py.check_string_dtype(dataset.dtype) is not None


_OPENED: WeakSet[HDF5Images] = WeakSet()


def _close_all() -> None:
    for source in list(_OPENED):
        source.close()


# The HDF5 library hands a forked child the parent's open file, position and caches included, even
# when the child opens the path anew. So nothing is open while a process forks.
os.register_at_fork(before=_close_all)
