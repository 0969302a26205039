"""Images in one HDF5 file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal
from weakref import WeakSet

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from cmid.data.decoding import decode_image
from cmid.data.folder import number_labels
from cmid.data.source import Image, ImageSource, UnreadableImageError


class HDF5Images(ImageSource):
    """Images of an HDF5 dataset: arrays, or encoded files.

    The file is opened on first use in each process.

    Args:
        path: the file.
        images: name of the dataset: ``(N, H, W, C)`` or ``(N, C, H, W)`` numbers, ``(N, H, W)``
            grey (repeated to three bands), or ``(N,)`` variable-length bytes of encoded images.
            uint8 is kept, other numbers become float32.
        labels: name of a dataset of ``(N,)`` integers, or names numbered in sorted order.
        layout: order of the axes of arrays; ``"auto"`` takes the shorter one of the second and the
            last axis for the channels, the last one if they are equal.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: not HDF5, no such dataset, or a shape or type that is none of the above.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        images: str = "images",
        labels: str | None = None,
        layout: Literal["auto", "NHWC", "NCHW"] = "auto",
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
            dataset = self._find(file, images)
            self._length, *shape = dataset.shape
            self.encoded = dataset.ndim == 1 and _holds_bytes(dataset)
            if dataset.dtype.kind not in "uifO" or (
                dataset.ndim not in (3, 4) and not self.encoded
            ):
                raise ValueError(
                    f"{self.path}: dataset '{images}' of {dataset.dtype} {dataset.shape} holds no"
                    " images: give (N, H, W, C), (N, C, H, W), (N, H, W) or encoded (N,)"
                )
            if self._length == 0:
                raise ValueError(f"{self.path}: dataset '{images}' is empty")
            auto = layout == "auto" and (len(shape) < 3 or shape[2] <= shape[0])
            self.channels_last = layout == "NHWC" or auto
            if len(shape) == 3:
                self.num_bands = shape[2] if self.channels_last else shape[0]
            self.labels = None if labels is None else self._read_labels(file, labels)

    def _find(self, file: h5py.File, name: str) -> h5py.Dataset:
        if not isinstance(file.get(name), h5py.Dataset):
            found = ", ".join(sorted(file)) or "nothing"
            raise ValueError(f"{self.path} has no dataset '{name}'; it holds {found}")
        return file[name]

    def _read_labels(self, file: h5py.File, name: str) -> NDArray[np.int64]:
        dataset = self._find(file, name)
        if dataset.shape != (self._length,):
            raise ValueError(
                f"{self.path}: labels '{name}' have shape {dataset.shape}, not ({self._length},)"
            )
        if dataset.dtype.kind in "ui":
            values = np.asarray(dataset, dtype=np.int64)
            self.classes = tuple(str(i) for i in range(int(values.max()) + 1))
            return values
        try:
            names = [str(label) for label in dataset.asstr()]
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.path}: labels '{name}' are not UTF-8 ({error.reason})") from None
        numbers, classes = number_labels(names)
        self.classes = tuple(classes)
        return np.array(numbers, dtype=np.int64)

    def __len__(self) -> int:
        return self._length

    def read(
        self,
        index: int,
        *,
        min_size: tuple[float, float] | None = None,
        generator: np.random.Generator | None = None,
    ) -> Image:
        if not 0 <= index < self._length:
            raise IndexError(f"image {index} of {self._length}")
        name = f"{self.path}:{self.images}[{index}]"
        label = -1 if self.labels is None else int(self.labels[index])
        try:
            entry = self._open()[index]
        except OSError as error:
            raise UnreadableImageError(
                f"{name}: {str(error).splitlines()[0]}; write or copy the file again"
            ) from error
        if self.encoded:
            data = entry if isinstance(entry, bytes) else np.asarray(entry, np.uint8).tobytes()
            pixels, size = decode_image(
                data, name=name, min_size=min_size, num_bands=self.num_bands
            )
            return Image(pixels, size, label, name)
        array: NDArray[Any] = np.asarray(entry)
        pixels = torch.from_numpy(array if array.dtype == np.uint8 else array.astype(np.float32))
        if array.ndim == 2:
            pixels = pixels.repeat(self.num_bands, 1, 1)
        elif self.channels_last:
            pixels = pixels.permute(2, 0, 1)
        return Image(pixels, (pixels.shape[1], pixels.shape[2]), label, name)

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
