"""Crops of scenes that are too large for more than one copy in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from cmid.data.decoding import opened_picture, read_image
from cmid.data.values import require_8bit

_PNG_HEAD = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class SceneCrops:
    """A decoded scene.

    Attributes:
        height, width: size in pixels.
        crop: left, top, right and bottom, within the scene, to ``(H, W, 3)`` uint8.
    """

    height: int
    width: int
    crop: Callable[[int, int, int, int], NDArray[np.uint8]]


def open_scene(path: Path) -> SceneCrops:
    """Decode a scene once; only crops are copied.

    Raises:
        UnreadableImageError: it cannot be decoded.
        ValueError: it has more than 8 bits a band.
    """
    picture = _plain_png(path)
    if picture is not None:
        # Turned into an array as a whole, a scene would lie in memory twice.
        def cut(left: int, top: int, right: int, bottom: int) -> NDArray[np.uint8]:
            return np.array(picture.crop((left, top, right, bottom)).convert("RGB"))

        return SceneCrops(picture.height, picture.width, cut)
    image = read_image(path)
    require_8bit(image.pixels, str(path))
    array: NDArray[Any] = image.pixels.permute(1, 2, 0).numpy()
    return SceneCrops(*image.full_size, lambda x0, y0, x1, y1: array[y0:y1, x0:x1])


def _plain_png(path: Path) -> PillowImage.Image | None:
    """A decoded PNG of 8 bits a band or less that lies upright; None for any other file."""
    try:
        with path.open("rb") as file:
            head = file.read(25)
        if head[:8] != _PNG_HEAD or head[24] > 8:
            return None
        with opened_picture(path) as picture:
            picture.load()
            return None if picture.getexif() else picture
    except (OSError, SyntaxError, ValueError, IndexError, PillowImage.DecompressionBombError):
        return None  # read_image says what is wrong
