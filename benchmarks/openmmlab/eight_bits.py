"""OpenCV makes three bands of 8 bits of any image; where that changes values, it is an error."""

from __future__ import annotations

from pathlib import Path

from PIL import UnidentifiedImageError

from cmid.data.decoding import opened_picture

_PNG_BIT_DEPTH = 24  # its place in the file
_TIFF_SAMPLES, _TIFF_BITS = 277, 258  # tags


def check_eight_bits(path: str | Path) -> None:
    """Make sure that OpenCV reads a picture as it is stored, but for a PNG's transparency.

    It divides 16 bits by 256, and multiplies a TIFF's first three bands by the fourth.

    Args:
        path: an image that OpenCV reads.

    Raises:
        ValueError: a TIFF or PNG of more than 8 bits a band, or a TIFF of other than 1 or 3 bands.
    """
    kept = True
    if Path(path).suffix.lower() == ".png":
        with Path(path).open("rb") as file:
            kept = file.read(_PNG_BIT_DEPTH + 1)[_PNG_BIT_DEPTH] <= 8
    elif Path(path).suffix.lower() in (".tif", ".tiff"):
        try:
            with opened_picture(path) as picture:
                tags = picture.getexif()
                bits = tags.get(_TIFF_BITS, 1)
                kept = tags.get(_TIFF_SAMPLES, 1) in (1, 3)
                kept &= max(bits if isinstance(bits, tuple) else (bits,)) <= 8
        except (UnidentifiedImageError, KeyError):  # types that Pillow lacks have more bits
            kept = False
    if not kept:
        raise ValueError(
            f"{path} has not one or three bands of 8 bits, so that LoadImageFromFile would change"
            " its values: load it by LoadRaster, as the *_geotiff.py of configs do, or convert it"
        )
