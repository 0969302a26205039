"""From encoded bytes to pixels: JPEG through libjpeg-turbo, most others through Pillow."""

from __future__ import annotations

import io
import math
import os
import warnings
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

from cmid.data.source import UnreadableImageError

# Another library may have switched this on; a half-grey image is worse than an error.
ImageFile.LOAD_TRUNCATED_IMAGES = False

# Of libjpeg-turbo's eighths, 6/8 and 7/8 are left out: they have no vector code and take longer
# than decoding in full (512-pixel JPEG, images per CPU-second: 8/8 1200, 7/8 740, 6/8 940, 4/8
# 1540), more than a smaller image saves in what follows.
_JPEG_SCALES = (1 / 8, 2 / 8, 3 / 8, 4 / 8, 5 / 8)
_JPEG_COLOURS = {1: "GRAY", 3: "RGB"}
_PNG_HEAD = b"\x89PNG\r\n\x1a\n"
_TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_TIFF_BITS_TAG = 0x0102
_ORIENTATION_TAG = 0x0112
_UPRIGHT = 1


def decode_image(
    data: bytes | str | os.PathLike[str],
    *,
    name: str = "",
    min_size: tuple[float, float] | None = None,
    num_bands: int = 3,
) -> tuple[Tensor, tuple[int, int]]:
    """Decode an encoded image or an image file.

    Grey images are repeated to ``num_bands``, palettes are resolved, alpha is dropped (not
    blended), CMYK becomes RGB, EXIF rotations are applied. Images of 16 bits a band and float
    images keep their values as float32.

    Args:
        data: the encoded bytes, or the path of a file.
        name: for messages; the path by default.
        min_size: a JPEG may be decoded at a reduced scale of at least this height and width.
        num_bands: 3, or 1 for luminance.

    Returns:
        pixels ``(num_bands, H, W)``, uint8 or float32, and the stored (upright) height and width.

    Raises:
        UnreadableImageError: missing, empty, truncated or not an image.
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
        return _decode(data, min_size, num_bands)
    except Exception as error:  # decoders raise everything from SyntaxError to struct.error
        reason = type(error).__name__ if not str(error) else str(error).splitlines()[0]
        if isinstance(error, UnidentifiedImageError):
            reason = "format not recognised"
        raise UnreadableImageError(
            f"{name}: not a readable image ({reason}); replace the file"
        ) from error


def _read(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableImageError(
            f"{name}: {error.strerror}; restore the file, or take it out of the list"
        ) from error


def _decode(
    data: bytes, min_size: tuple[float, float] | None, num_bands: int
) -> tuple[Tensor, tuple[int, int]]:
    if data[:2] == b"\xff\xd8" and not _is_rotated(data):
        decoded = _decode_jpeg(data, min_size, num_bands)
        if decoded is not None:
            return decoded
    pixels = _decode_wide(data)
    if pixels is None:
        pixels = _decode_with_pillow(data, num_bands)
    if len(pixels) != num_bands:
        pixels = _to_bands(pixels, num_bands)
    return pixels, (pixels.shape[1], pixels.shape[2])


def _is_rotated(jpeg: bytes) -> bool:
    """Whether EXIF says that the picture is to be turned; most JPEGs pay for a search only."""
    if jpeg.find(b"Exif\0\0", 0, 1 << 16) < 0:
        return False
    with PillowImage.open(io.BytesIO(jpeg)) as picture:
        return picture.getexif().get(_ORIENTATION_TAG, _UPRIGHT) != _UPRIGHT


def _decode_jpeg(
    data: bytes, min_size: tuple[float, float] | None, num_bands: int
) -> tuple[Tensor, tuple[int, int]] | None:
    """Decode by libjpeg-turbo; ``None`` where Pillow knows better (CMYK, harmless stray bytes).

    Fast DCT and fast upsampling stay off: the first gained nothing (SIMD either way) for 45 dB
    against the exact decoder, the second 5 % for errors of up to 25 grey levels at colour edges.
    """
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


def _smallest_scale(size: tuple[int, int], min_size: tuple[float, float]) -> float:
    """The smallest worthwhile scale that keeps both sides at ``min_size`` or above."""
    for scale in _JPEG_SCALES:
        if all(
            math.ceil(stored * scale) >= needed
            for stored, needed in zip(size, min_size, strict=True)
        ):
            return scale
    return 1.0


def _decode_wide(data: bytes) -> Tensor | None:
    """Colour images of more than 8 bits a band, which Pillow would cut to 8 or refuse.

    Returns:
        ``(C, H, W)`` float32, or ``None`` for an image that Pillow reads well.
    """
    if data[:8] == _PNG_HEAD and data[24:26] in (b"\x10\x02", b"\x10\x06"):  # 16 bits, RGB or RGBA
        encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        return decode_png(encoded, ImageReadMode.UNCHANGED)[:3].float()
    if data[:4] in _TIFF_HEADS:
        try:
            with PillowImage.open(io.BytesIO(data)) as picture:
                bits = getattr(picture, "tag_v2", {}).get(_TIFF_BITS_TAG, ())
                wide = len(picture.getbands()) > 1 and max(bits, default=8) > 8
        except UnidentifiedImageError:
            wide = True
        return _decode_tiff(data) if wide else None
    return None


def _decode_tiff(data: bytes) -> Tensor:
    try:
        import rasterio
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("this TIFF needs rasterio: pip install 'cmid[geo]'") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.MemoryFile(data) as memory, memory.open() as scene:
            alpha = scene.count == 4 and scene.colorinterp[3] == rasterio.enums.ColorInterp.alpha
            if scene.count not in (1, 3) and not alpha:
                raise ValueError(f"{scene.count} bands: read it with RasterWindows")
            return torch.from_numpy(scene.read()[:3].astype(np.float32))


def _decode_with_pillow(data: bytes, num_bands: int) -> Tensor:
    with warnings.catch_warnings():
        # Large scenes are normal here; what is too large for Pillow still raises an error.
        warnings.simplefilter("ignore", PillowImage.DecompressionBombWarning)
        picture: PillowImage.Image = PillowImage.open(io.BytesIO(data))
        picture.load()
    if picture.getexif().get(_ORIENTATION_TAG, _UPRIGHT) != _UPRIGHT:
        picture = ImageOps.exif_transpose(picture)
    array: NDArray[Any]
    if picture.mode.startswith(("I", "F")):
        array = np.array(picture, dtype=np.float32)
    else:
        grey = num_bands == 1 or picture.mode in ("L", "LA", "1")
        array = np.array(picture.convert("L" if grey else "RGB"))
    return torch.from_numpy(np.atleast_3d(array)).permute(2, 0, 1)


def _to_bands(pixels: Tensor, num_bands: int) -> Tensor:
    """Grey to colour by repetition; wide colour to grey by the luminance of ITU-R BT.601."""
    if num_bands == 3:
        return pixels.repeat(3, 1, 1)
    weights = torch.tensor([0.299, 0.587, 0.114])
    return (pixels * weights[:, None, None]).sum(0, keepdim=True)
