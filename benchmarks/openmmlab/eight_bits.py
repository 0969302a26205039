"""OpenCV makes three bands of 8 bits of any image; where that changes values, it is an error."""

from __future__ import annotations

from pathlib import Path

from PIL import UnidentifiedImageError

from cmid.data.decoding import opened_picture
from cmid.data.rasters import raster_size
from cmid.data.tiff import TIFF_HEADS

_PNG_HEAD = b"\x89PNG\r\n\x1a\n"
_PNG_BIT_DEPTH = 24  # its place in the file
_TIFF_SAMPLES, _TIFF_BITS = 277, 258  # tags


def check_eight_bits(path: str | Path) -> None:
    """Make sure that OpenCV reads a picture as it is stored, but for a PNG's transparency.

    It divides 16 bits by 256, and multiplies a TIFF's first three bands by the fourth. Damaged
    files pass: their reader says what is wrong.

    Args:
        path: an image that OpenCV reads.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a TIFF or PNG of more than 8 bits a band, or a TIFF of other than 1 or 3 bands.
    """
    with Path(path).open("rb") as file:
        head = file.read(_PNG_BIT_DEPTH + 1)
    kept = True
    if head[:8] == _PNG_HEAD:
        kept = head[_PNG_BIT_DEPTH:] <= b"\x08"
    elif head[:4] in TIFF_HEADS:
        try:
            with opened_picture(path) as picture:
                tags = picture.getexif()
                bits = tags.get(_TIFF_BITS, 1)
                kept = tags.get(_TIFF_SAMPLES, 1) in (1, 3)
                kept &= max(bits if isinstance(bits, tuple) else (bits,)) <= 8
        except (UnidentifiedImageError, KeyError):  # types that Pillow lacks have more bits
            kept = raster_size(str(path)) is None
    if not kept:
        raise ValueError(
            f"{path} has not one or three bands of 8 bits, all that LoadPicture and"
            " LoadImageFromFile keep: load it by LoadRaster, as the *_geotiff.py of configs do, or"
            " convert it"
        )
