"""An image of any size becomes the square that a tower sees, and boxes follow it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from cmid.boxes import Floats
from cmid.data.decoding import read_image
from cmid.data.raster_files import inspect
from cmid.data.raster_reading import read_raster

Fit = Literal["squash", "crop", "pad"]


def as_pixels(image: Any, *, bands: int = 3) -> Tensor:
    """An image as ``(C, H, W)`` stored values.

    Args:
        image: a tensor ``(C, H, W)``, an array ``(H, W, C)``, a picture of Pillow, or a file: of 1
            or 3 bands any image, of others a raster that has as many.

    Raises:
        FileNotFoundError, ValueError: as `cmid.data.decoding.read_image`; also other bands.
    """
    if isinstance(image, str | os.PathLike):
        return _read(Path(image), bands)
    if not isinstance(image, Tensor):
        if hasattr(image, "convert"):  # Pillow's palettes and modes
            image = image.convert("RGB")
        array = np.asarray(image)
        image = torch.from_numpy(np.array(array[..., None] if array.ndim == 2 else array))
        image = image.permute(2, 0, 1)
    if image.ndim != 3 or image.shape[0] != bands:
        raise ValueError(f"image of shape {tuple(image.shape)}, the model takes ({bands}, H, W)")
    return image


def _read(path: Path, bands: int) -> Tensor:
    if bands in (1, 3):
        return read_image(path, num_bands=bands).pixels
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    there = inspect(str(path)).count
    if there != bands:
        raise ValueError(f"{path} has {there} bands, the model takes {bands}")
    values, _ = read_raster(path, bands=[*range(1, bands + 1)])
    return torch.from_numpy(values.copy())


def fit_image(image: Tensor, size: int, fit: Fit) -> Tensor:
    """Bring ``(C, H, W)`` to ``(C, size, size)``, bicubic, of the same type.

    Args:
        fit: ``squash`` both sides; ``crop`` the centre of the image whose short side is scaled;
            ``pad`` the image whose long side is scaled, with zeros around.
    """
    height, width = image.shape[-2:]
    if fit == "squash":
        return _resized(image, (size, size))
    side = min(height, width) if fit == "crop" else max(height, width)
    scaled = (max(1, round(height * size / side)), max(1, round(width * size / side)))
    image = _resized(image, scaled)
    if fit == "crop":
        return transforms.center_crop(image, [size, size])
    top, left = (size - scaled[0]) // 2, (size - scaled[1]) // 2
    return F.pad(image, (left, size - scaled[1] - left, top, size - scaled[0] - top))


def _resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(image.shape[-2:]) == size:
        return image
    return transforms.resize(
        image, list(size), interpolation=InterpolationMode.BICUBIC, antialias=True
    )


@dataclass(frozen=True)
class Frame:
    """Where a whole image lies in the square that the model sees, in fractions of either.

    Attributes:
        fit: see `fit_image`. height, width: of the whole image, in any unit.
    """

    fit: Fit
    height: float
    width: float

    def to_seen(self, points: Floats) -> Floats:
        """Points ``(..., 2)``, x and y, of the whole image; outside [0, 1] where cut off."""
        scale = self._scale()
        return points * scale + (1 - scale) / 2

    def to_whole(self, points: Floats) -> Floats:
        """Points that the model named, in the whole image."""
        scale = self._scale()
        return (points - (1 - scale) / 2) / scale

    def _scale(self) -> Floats:
        if self.fit == "squash":
            return np.ones(2)
        sides = (self.height, self.width)
        side = min(sides) if self.fit == "crop" else max(sides)
        return np.array([self.width, self.height]) / side
