"""Height and width of an image file, read from its head alone."""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from cmid.data.decoding import opened_picture
from cmid.data.rasters import raster_size
from cmid.data.source import UnreadableImageError

_ORIENTATION_TAG = 0x0112
_ON_ITS_SIDE = (5, 6, 7, 8)  # values of the tag that exchange height and width


def stored_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Height and width in pixels as `cmid.data.decoding.read_image` gives them: EXIF applied.

    Raises:
        FileNotFoundError: there is no such file.
        UnreadableImageError: it is no image.
    """
    name = os.fspath(path)
    if not Path(path).is_file():
        raise FileNotFoundError(f"no image {name}")
    try:
        with opened_picture(path) as picture:
            width, height = picture.size
            turned = is_on_its_side(picture)
    except (UnidentifiedImageError, KeyError) as error:  # some types of TIFF
        size = raster_size(name)
        if size is None:
            raise UnreadableImageError(
                f"{name}: not a readable image (format not recognised); replace it"
            ) from error
        return size
    except (OSError, SyntaxError, ValueError, PillowImage.DecompressionBombError) as error:
        raise UnreadableImageError(f"{name}: not a readable image ({error}); replace it") from error
    return (width, height) if turned else (height, width)


def is_on_its_side(picture: PillowImage.Image) -> bool:
    """Whether EXIF says to turn a picture by a quarter, from what its head holds."""
    if picture.format == "TIFF":  # Pillow gives the size as it will be turned
        return False
    # Asked for EXIF that is not in its head, a PNG would be decoded as a whole.
    if picture.format == "PNG" and "exif" not in picture.info:
        return False
    return picture.getexif().get(_ORIENTATION_TAG, 1) in _ON_ITS_SIDE
