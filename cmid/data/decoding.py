"""From encoded bytes to pixels: JPEG through libjpeg-turbo, most others through Pillow."""

from __future__ import annotations

import io
import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageFile, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchvision.io import ImageReadMode, decode_png

from cmid.data.source import Image, UnreadableImageError
from cmid.data.tiff import TIFF_HEADS, StoredNumbers, read_by_rasterio, tiff_numbers
from cmid.data.values import UINT8, NotFiniteError, filled

# Another library may have switched this on; a half-grey image is worse than an error.
ImageFile.LOAD_TRUNCATED_IMAGES = False

# Pixels of the largest image that is read. Pillow refuses those above 179 megapixels, for an attack
# by a small file; scenes are larger than that (DOTA's up to 806), and are the user's own.
LARGEST_SCENE = 2**31

# Of libjpeg-turbo's eighths, 6/8 and 7/8 are left out: they have no vector code and take longer
# than decoding in full (512-pixel JPEG, images per CPU-second: 8/8 1200, 7/8 740, 6/8 940, 4/8
# 1540), more than a smaller image saves in what follows.
_JPEG_SCALES = (1 / 8, 2 / 8, 3 / 8, 4 / 8, 5 / 8)
_JPEG_COLOURS = {1: "GRAY", 3: "RGB"}
_PNG_HEAD = b"\x89PNG\r\n\x1a\n"
# 16 bits a band, kind of colour (RGB, grey with alpha, RGBA) and bands to keep.
_WIDE_PNGS = {b"\x10\x02": 3, b"\x10\x04": 1, b"\x10\x06": 3}
# Types by Pillow's mode; a TIFF's tags tell more exactly.
_WIDE_MODES = {"I;16": "uint16", "I;16B": "uint16", "I;16S": "int16", "I": "int32", "F": "float32"}
_HEIF_HEADS = tuple(b"ftyp" + brand for brand in (b"heic", b"heix", b"heif", b"mif1", b"hevc"))
_START_OF_SCAN = 0xDA
_ORIENTATION_TAG = 0x0112
_UPRIGHT = 1


@contextmanager
def opened_picture(file: str | os.PathLike[str] | io.BytesIO) -> Iterator[PillowImage.Image]:
    """A picture that Pillow opens, of up to `LARGEST_SCENE` pixels; what is larger is an error.

    The one place that decides about Pillow's limit: whatever opens a user's file takes this.
    """
    PillowImage.MAX_IMAGE_PIXELS = LARGEST_SCENE // 2  # an error comes at twice as many
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PillowImage.DecompressionBombWarning)
        with PillowImage.open(file) as picture:
            yield picture


def read_image(
    data: bytes | str | os.PathLike[str],
    *,
    name: str = "",
    min_size: tuple[float, float] | None = None,
    num_bands: int = 3,
) -> Image:
    """Decode an encoded image or an image file.

    Grey images are repeated to ``num_bands``, palettes are resolved, alpha is dropped (not
    blended), CMYK becomes RGB, EXIF rotations are applied, of animations the first picture counts.
    All these are 8-bit images, also those of 1, 2 and 4 bits. Images of 16 bits a band and float
    images keep their values as float32. Scale, offset, unit and nodata value of a GeoTIFF count
    as they do for `cmid.data.RasterWindows`.

    Args:
        data: the encoded bytes, or the path of a file.
        name: name for messages; the path by default.
        min_size: a JPEG may be decoded at a reduced scale of at least this height and width.
        num_bands: 3, or 1 for luminance.

    Returns:
        The image without a label: pixels ``(num_bands, H, W)``, uint8 or float32.

    Raises:
        UnreadableImageError: missing, empty, truncated or not an image; no valid pixel, or pixels
            that are neither finite nor declared missing.
        ValueError: ``num_bands`` is neither 1 nor 3.
    """
    if num_bands not in _JPEG_COLOURS:
        raise ValueError(f"an image file gives 1 or 3 bands, not {num_bands}; see RasterWindows")
    if not isinstance(data, bytes | bytearray | memoryview):
        name = name or os.fspath(data)
        data = _read(Path(data), name)
    data = bytes(data)
    if not data:
        raise UnreadableImageError(f"{name}: file is empty; download or export it again")
    try:
        return replace(_decode(data, min_size, num_bands), name=name)
    except NotFiniteError as error:
        raise UnreadableImageError(f"{name} {error}") from error
    except Exception as error:  # decoders raise everything from SyntaxError to struct.error
        reason = type(error).__name__ if not str(error) else str(error).splitlines()[0]
        if isinstance(error, UnidentifiedImageError):
            reason = "format not recognised"
            if data[4:12] in _HEIF_HEADS:
                reason = "HEIC is not supported: convert it to JPEG or PNG"
        raise UnreadableImageError(
            f"{name}: not a readable image ({reason}); replace the file, or take it out"
        ) from error


def _read(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableImageError(
            f"{name}: {error.strerror}; restore the file, or take it out of the list"
        ) from error


def _decode(data: bytes, min_size: tuple[float, float] | None, num_bands: int) -> Image:
    if data[:2] == b"\xff\xd8" and not _is_rotated(data):
        decoded = _decode_jpeg(data, min_size, num_bands)
        if decoded is not None:
            return Image(*decoded, kind=UINT8)
    array, numbers = _decode_losslessly(data, num_bands)
    values = (array, None, UINT8) if numbers is None else numbers.interpret(array)
    pixels, missing, kind = filled(*values)
    if len(pixels) != num_bands:
        pixels = _to_bands(pixels, num_bands)
        if missing is not None:
            missing = missing.any(0, keepdim=True).repeat(num_bands, 1, 1)
    return Image(pixels, (pixels.shape[1], pixels.shape[2]), kind=kind, missing=missing)


def _is_rotated(jpeg: bytes) -> bool:
    """Whether EXIF says that the picture is to be turned; most JPEGs pay for a search only."""
    if jpeg.find(b"Exif\0\0", 0, 1 << 16) < 0:
        return False
    with opened_picture(io.BytesIO(jpeg)) as picture:
        return picture.getexif().get(_ORIENTATION_TAG, _UPRIGHT) != _UPRIGHT


def _decode_jpeg(
    data: bytes, min_size: tuple[float, float] | None, num_bands: int
) -> tuple[Tensor, tuple[int, int]] | None:
    """Decode by libjpeg-turbo; ``None`` where Pillow knows better (CMYK, harmless stray bytes).

    Stray bytes between the segments of the header are taken out first.

    Fast DCT and fast upsampling stay off: the first gained nothing (SIMD either way) for 45 dB
    against the exact decoder, the second 5 % for errors of up to 25 grey levels at colour edges.
    """
    try:
        height, width, colourspace, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError as error:
        if "extraneous bytes" not in str(error):
            raise
        data = _without_stray_bytes(data)
        height, width, colourspace, _ = simplejpeg.decode_jpeg_header(data)
    if colourspace not in ("YCbCr", "RGB", "Gray"):
        return None
    floor = {}
    scale = 1.0 if min_size is None else _smallest_scale((height, width), min_size)
    if scale < 1:
        floor = {"min_height": math.ceil(height * scale), "min_width": math.ceil(width * scale)}
    try:
        pixels = simplejpeg.decode_jpeg(data, _JPEG_COLOURS[num_bands], min_factor=1, **floor)
    except ValueError as error:
        # Bytes between segments damage nothing. Whatever else libjpeg warns of leaves pixels grey,
        # and Pillow would not tell.
        if "extraneous bytes" in str(error):
            return None
        raise
    return torch.from_numpy(pixels).permute(2, 0, 1), (height, width)


def _without_stray_bytes(jpeg: bytes) -> bytes:
    """A JPEG whose header holds nothing but segments."""
    parts, place = [jpeg[:2]], 2
    while 0 <= (place := jpeg.find(b"\xff", place)) < len(jpeg) - 4:
        marker = jpeg[place + 1]
        if marker in (0x00, 0xFF):  # no marker: a stray byte, or one that fills up
            place += 1
            continue
        if marker == _START_OF_SCAN:
            break
        end = place + 2 + int.from_bytes(jpeg[place + 2 : place + 4], "big")
        parts.append(jpeg[place:end])
        place = end
    return b"".join([*parts, jpeg[place:]]) if place >= 0 else jpeg


def _smallest_scale(size: tuple[int, int], min_size: tuple[float, float]) -> float:
    """The smallest worthwhile scale that keeps both sides at ``min_size`` or above."""
    for scale in _JPEG_SCALES:
        if all(
            math.ceil(stored * scale) >= needed
            for stored, needed in zip(size, min_size, strict=True)
        ):
            return scale
    return 1.0


def _decode_losslessly(data: bytes, num_bands: int) -> tuple[NDArray[Any], StoredNumbers | None]:
    """Stored numbers ``(C, H, W)``, and what they mean; None for 8-bit images.

    Pillow would cut colour of more than 8 bits a band to 8 or refuse it, and knows neither signed
    bytes nor unsigned integers of 32 bits.
    """
    if data[:8] == _PNG_HEAD and data[24:26] in _WIDE_PNGS:
        encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        pixels = decode_png(encoded, ImageReadMode.UNCHANGED)[: _WIDE_PNGS[data[24:26]]]
        return pixels.numpy(), StoredNumbers("uint16")
    if data[:4] not in TIFF_HEADS:
        array, mode = _decode_with_pillow(data, num_bands)
        if array.dtype == np.uint8:
            return array, None
        # Older versions of Pillow hold grey PNGs of 16 bits as 32.
        png = data[:8] == _PNG_HEAD
        return array, StoredNumbers("uint16" if png else _WIDE_MODES.get(mode, "uint16"))
    try:
        with opened_picture(io.BytesIO(data)) as picture:
            numbers = tiff_numbers(getattr(picture, "tag_v2", {}))
            single = len(picture.getbands()) == 1
    except UnidentifiedImageError:
        return read_by_rasterio(data)
    if numbers.dtype == "uint8" or (single and numbers.dtype in _WIDE_MODES.values()):
        return _decode_with_pillow(data, num_bands)[0], numbers
    return read_by_rasterio(data)


def _decode_with_pillow(data: bytes, num_bands: int) -> tuple[NDArray[Any], str]:
    """Numbers ``(C, H, W)``, uint8 or float32, and Pillow's mode of the picture."""
    with opened_picture(io.BytesIO(data)) as picture:
        picture.load()
    if picture.getexif().get(_ORIENTATION_TAG, _UPRIGHT) != _UPRIGHT:
        picture = ImageOps.exif_transpose(picture)
    array: NDArray[Any]
    if picture.mode.startswith(("I", "F")):
        array = np.array(picture, dtype=np.float32)
    else:
        grey = num_bands == 1 or picture.mode in ("L", "LA", "1")
        array = np.array(picture.convert("L" if grey else "RGB"))
    return np.atleast_3d(array).transpose(2, 0, 1), picture.mode


def _to_bands(pixels: Tensor, num_bands: int) -> Tensor:
    """Grey to colour by repetition; wide colour to grey by the luminance of ITU-R BT.601."""
    if num_bands == 3:
        return pixels.repeat(3, 1, 1)
    weights = torch.tensor([0.299, 0.587, 0.114])
    return (pixels * weights[:, None, None]).sum(0, keepdim=True)
