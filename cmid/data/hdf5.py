"""Images in one HDF5 file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from cmid.data.decoding import decode_image
from cmid.data.source import Image, ImageSource, UnreadableImageError


class HDF5Images(ImageSource):
    """Images of an HDF5 dataset: arrays, or encoded files.

    Args:
        path: the file.
        images: name of the dataset: ``(N, H, W, C)`` or ``(N, C, H, W)`` numbers (the axis of at
            most 16 entries counts as channels, the last one if both fit), ``(N, H, W)`` grey, or
            ``(N,)`` variable-length bytes of encoded images.
        labels: name of a dataset of ``(N,)`` integers.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: not HDF5, no such dataset, or a shape that is none of the above.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, images: str = "images", labels: str | None = None
    ) -> None:
        self.path = Path(path)
        self.images = images
        if not self.path.is_file():
            raise FileNotFoundError(f"HDF5 file {self.path} does not exist")
        self._file: h5py.File | None = None
        self._process = -1
        try:
            file = h5py.File(self.path, "r")
        except OSError as error:
            raise ValueError(f"{self.path} is not a readable HDF5 file: {error}") from error
        with file:
            for name in filter(None, (images, labels)):
                if name not in file:
                    raise ValueError(f"{self.path} has no dataset '{name}', only {sorted(file)}")
            shape = file[images].shape
            self._length = shape[0]
            self.encoded = len(shape) == 1
            self.channels_last = len(shape) != 4 or shape[3] <= 16
            if len(shape) not in (1, 3, 4):
                raise ValueError(f"{self.path}: dataset '{images}' has shape {shape}, not images")
            if len(shape) == 4:
                self.num_bands = shape[3] if self.channels_last else shape[1]
            self.labels = None if labels is None else np.asarray(file[labels], dtype=np.int64)
        if self.labels is not None:
            self.classes = tuple(str(i) for i in range(int(self.labels.max()) + 1))

    def __len__(self) -> int:
        return self._length

    def read(
        self,
        index: int,
        *,
        min_size: tuple[float, float] | None = None,
        generator: np.random.Generator | None = None,
    ) -> Image:
        name = f"{self.path}:{self.images}[{index}]"
        label = -1 if self.labels is None else int(self.labels[index])
        try:
            entry = self._dataset()[index]
        except OSError as error:
            raise UnreadableImageError(f"{name}: {error}") from error
        if self.encoded:
            data = entry if isinstance(entry, bytes) else np.asarray(entry, np.uint8).tobytes()
            pixels, size = decode_image(
                data, name=name, min_size=min_size, num_bands=self.num_bands
            )
            return Image(pixels, size, label, name)
        array = np.asarray(entry)
        if array.ndim == 2:
            array = np.repeat(array[..., None], self.num_bands, axis=2)
        pixels = torch.from_numpy(array if array.dtype == np.uint8 else array.astype(np.float32))
        if self.channels_last:
            pixels = pixels.permute(2, 0, 1)
        return Image(pixels, (pixels.shape[1], pixels.shape[2]), label, name)

    def _dataset(self) -> Any:
        # A handle that crosses a fork shares its file position with the parent: open anew.
        if self._file is None or self._process != os.getpid():
            self._file, self._process = h5py.File(self.path, "r"), os.getpid()
        return self._file[self.images]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}
