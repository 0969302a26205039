"""From encoded bytes to pixels: JPEG through libjpeg-turbo, everything else through Pillow."""

from __future__ import annotations

import io
import math
import os
import warnings
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from PIL import Image as PillowImage
from PIL import ImageFile, ImageOps
from torch import Tensor

from cmid.data.source import UnreadableImageError

# Another library may have switched this on; a half-grey image is worse than an error.
ImageFile.LOAD_TRUNCATED_IMAGES = False

_JPEG_SCALES = tuple(eighths / 8 for eighths in range(1, 9))
_EXIF_MARKER = b"\xff\xe1"
_ORIENTATION_TAG = 0x0112


def decode_image(
    data: bytes | str | os.PathLike[str],
    *,
    name: str = "",
    min_size: tuple[float, float] | None = None,
    num_bands: int = 3,
) -> tuple[Tensor, tuple[int, int]]:
    """Decode an encoded image or an image file.

    Grey images are repeated to ``num_bands``, palettes are resolved, alpha is dropped, CMYK becomes
    RGB, EXIF rotations are applied. 16-bit and float images keep their values as float32.

    Args:
        data: the encoded bytes, or the path of a file.
        name: for messages; the path by default.
        min_size: a JPEG may be decoded at a reduced scale of at least this height and width.
        num_bands: 3, or 1 for grey.

    Returns:
        pixels ``(num_bands, H, W)``, uint8 or float32, and the stored (upright) height and width.

    Raises:
        UnreadableImageError: missing, empty, truncated or not an image.
    """
    if not isinstance(data, bytes | bytearray | memoryview):
        name = name or os.fspath(data)
        try:
            data = Path(data).read_bytes()
        except OSError as error:
            raise UnreadableImageError(f"{name}: {error.strerror}") from error
    data = bytes(data)
    if not data:
        raise UnreadableImageError(f"{name}: file is empty; download or export it again")
    try:
        if data[:2] == b"\xff\xd8" and num_bands == 3 and not _maybe_rotated(data):
            decoded = _decode_jpeg(data, min_size)
            if decoded is not None:
                return decoded
        return _decode_with_pillow(data, num_bands)
    except UnreadableImageError:
        raise
    except Exception as error:  # decoders raise everything from SyntaxError to struct.error
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UnreadableImageError(
            f"{name}: not a readable image ({reason}); replace the file, or count and skip such"
            " files with on_error=skip"
        ) from error


def _maybe_rotated(data: bytes) -> bool:
    """Whether an EXIF block near the start may hold an orientation: Pillow then has a look."""
    return _EXIF_MARKER in data[:4096] and b"Exif" in data[:4096]


def _decode_jpeg(
    data: bytes, min_size: tuple[float, float] | None
) -> tuple[Tensor, tuple[int, int]] | None:
    height, width, colourspace, _ = simplejpeg.decode_jpeg_header(data)
    if colourspace not in ("YCbCr", "RGB", "Gray"):
        return None
    floor = {}
    if min_size is not None:
        scale = _smallest_scale((height, width), min_size)
        if scale < 1:
            floor = {"min_height": math.ceil(height * scale), "min_width": math.ceil(width * scale)}
    pixels = simplejpeg.decode_jpeg(data, "RGB", min_factor=1, strict=True, **floor)
    return torch.from_numpy(pixels).permute(2, 0, 1), (height, width)


def _smallest_scale(size: tuple[int, int], min_size: tuple[float, float]) -> float:
    """The smallest of libjpeg's scales (eighths) that keeps both sides at ``min_size`` or above."""
    for scale in _JPEG_SCALES:
        if all(
            math.ceil(stored * scale) >= needed
            for stored, needed in zip(size, min_size, strict=True)
        ):
            return scale
    return 1.0


def _decode_with_pillow(data: bytes, num_bands: int) -> tuple[Tensor, tuple[int, int]]:
    with warnings.catch_warnings():
        # A decompression bomb warning would go unseen in a worker; large scenes are normal here.
        warnings.simplefilter("ignore", PillowImage.DecompressionBombWarning)
        picture: PillowImage.Image = PillowImage.open(io.BytesIO(data))
        picture.load()
    if picture.getexif().get(_ORIENTATION_TAG, 1) != 1:
        picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith(("I", "F")):
        array = np.asarray(picture).astype(np.float32)[..., None]
    elif picture.mode in ("L", "LA", "1"):
        array = np.asarray(picture.convert("L"))[..., None]
    else:
        array = np.asarray(picture.convert("RGB"))
    pixels = torch.from_numpy(np.ascontiguousarray(array)).permute(2, 0, 1)
    if len(pixels) == 1:
        pixels = pixels.expand(num_bands, -1, -1)
    elif num_bands == 1:
        pixels = pixels.float().mean(0, keepdim=True).round().to(torch.uint8)
    return pixels, (picture.height, picture.width)
