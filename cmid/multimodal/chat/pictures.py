"""Images that are given to a chat: read, their bands chosen, stretched, and ready to be shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmid.data.decoding import read_image
from cmid.data.image_size import stored_size
from cmid.data.raster_files import inspect
from cmid.data.raster_paths import RASTER_EXTENSIONS
from cmid.data.raster_reading import read_raster
from cmid.data.statistics import ChannelStatistics
from cmid.multimodal.chat.settings import Stretch
from cmid.visualization.stretching import stretched


@dataclass(frozen=True, eq=False)
class Picture:
    """An image of a chat.

    Attributes:
        name: of the file.
        pixels: ``(C, H, W)`` as the model takes them.
        shown: ``(H, W, 3)`` uint8.
        note: what was done to it, for the user.
    """

    name: str
    pixels: Tensor
    shown: NDArray[np.uint8] = field(repr=False)
    note: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.shown.shape[0], self.shown.shape[1]


def open_picture(
    path: str | Path,
    *,
    statistics: ChannelStatistics,
    bands: Sequence[str] = (),
    stretch: Stretch = "auto",
    max_pixels: int = 100_000_000,
) -> Picture:
    """Read an image file, or a raster such as a GeoTIFF.

    Args:
        statistics: of the model's tower: how many bands it takes, and whether of 8 bits.
        bands: numbers, from 1, or names of a raster's bands; by default the first ones.
        stretch: ``auto``: values wider than 8 bits for a model of 8-bit images; see
            `cmid.visualization.stretching.stretched`.

    Raises:
        FileNotFoundError, ValueError: no image, too large, or not the model's bands.
    """
    path, wanted = Path(path), len(statistics.mean)
    size = stored_size(path)
    if size[0] * size[1] > max_pixels:
        raise ValueError(
            f"{path.name} has {size[1]} x {size[0]} pixels, more than {max_pixels} in all: cut a"
            " part out of it, or raise --max_pixels"
        )
    values, missing, notes = _read(path, bands, wanted)
    if len(values) != wanted:
        raise ValueError(
            f"{path.name}: {len(values)} bands are chosen, the model takes {wanted}: name so many"
            " with bands"
        )
    eight = values.dtype == np.uint8
    if stretch == "always" or (stretch == "auto" and not eight and statistics.is_8bit):
        values, eight = stretched(values, missing), True
        notes.append("stretched from the 2nd to the 98th percentile")
    elif statistics.is_8bit and not eight:
        values, eight = values.clip(0, 255).astype(np.uint8), True
    visible = values[:3] if len(values) >= 3 else np.repeat(values[:1], 3, axis=0)
    if not eight:
        visible = stretched(visible, None if missing is None else missing[:3])
    shown = np.ascontiguousarray(visible.transpose(1, 2, 0)).astype(np.uint8)
    return Picture(path.name, torch.from_numpy(values.copy()), shown, "; ".join(notes))


def _read(path: Path, bands: Sequence[str], wanted: int) -> tuple[Any, Any, list[str]]:
    """Values ``(C, H, W)``, which are missing, and what was chosen."""
    if path.suffix.lower() not in RASTER_EXTENSIONS:
        if bands:
            raise ValueError(
                f"{path.name} is no raster, its bands cannot be chosen: leave them out"
            )
        image = read_image(path, num_bands=3 if wanted >= 3 else 1)
        return image.pixels.numpy(), None, []
    there = inspect(str(path)).count
    chosen: list[int | str] = [int(band) if band.isdecimal() else band for band in bands]
    if not chosen:
        chosen = [*range(1, min(wanted, there) + 1)]
        if there in (1, 2):
            chosen = [1] * wanted
    values, missing = read_raster(path, bands=chosen)
    taken = f"bands {', '.join(map(str, chosen))} of {there}"
    return values, missing, [taken] if there != wanted or bands else []
