"""What the numbers of image files mean: types, tags, missing pixels, and files that mislead."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from cmid.data import ImageFolder, UnreadableImageError
from cmid.data.decoding import read_image
from cmid.data.values import UINT8, ValueKind

rasterio = pytest.importorskip("rasterio")
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
RNG = np.random.default_rng(0)


def tiff(
    array: np.ndarray, *, scales: Any = None, offsets: Any = None, units: Any = None, **options: Any
) -> bytes:
    shape = {"count": array.shape[0], "height": array.shape[1], "width": array.shape[2]}
    with rasterio.MemoryFile() as memory:
        with memory.open(driver="GTiff", dtype=array.dtype, **shape, **options) as scene:
            scene.write(array)
            if scales is not None:
                scene.scales, scene.offsets = scales, offsets
            if units is not None:
                scene.units = units
        return memory.read()


def encode(image: PillowImage.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_pictures_of_up_to_8_bits_are_8_bit_images(mode: str) -> None:
    picture = PillowImage.fromarray(RNG.integers(0, 256, (8, 9, 3), dtype=np.uint8)).convert(mode)
    image = read_image(encode(picture))
    assert image.kind == UINT8
    assert image.missing is None
    assert (
        torch.equal(image.pixels, read_image(encode(picture.convert("RGB"))).pixels) or mode == "P"
    )
    assert image.pixels.max() > 200  # also of one bit: 0 and 255


@pytest.mark.parametrize(
    "dtype", ["int8", "uint16", "int16", "uint32", "int32", "float32", "float64"]
)
@pytest.mark.parametrize("bands", [1, 3])
def test_wide_tiffs_keep_their_values_and_their_type(dtype: str, bands: int) -> None:
    kind = np.dtype(dtype)
    low, high = (-3.5, 1e6) if kind.kind == "f" else (np.iinfo(kind).min, np.iinfo(kind).max)
    values = np.linspace(low, high, bands * 20).reshape(bands, 4, 5).astype(kind)
    image = read_image(tiff(values))
    assert image.kind == ValueKind("float32" if kind.kind == "f" else dtype)
    wanted = np.broadcast_to(values.astype(np.float32), (3, 4, 5))
    assert np.array_equal(image.pixels.numpy(), wanted)


def test_wide_png_with_alpha_keeps_its_16_bits() -> None:
    values = RNG.integers(0, 65536, (2, 4, 5), dtype=np.uint16)
    with rasterio.MemoryFile() as memory:
        shape = {"count": 2, "height": 4, "width": 5, "dtype": "uint16"}
        with memory.open(driver="PNG", **shape) as scene:
            scene.write(values)
        data = memory.read()
    image = read_image(data)
    assert image.kind == ValueKind("uint16")
    assert np.array_equal(image.pixels[0].numpy(), values[0].astype(np.float32))


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_scale_offset_and_unit_of_a_geotiff_are_applied(dtype: str, bands: int) -> None:
    values = RNG.integers(1, 100, (bands, 4, 5)).astype(dtype)
    tags = {"scales": [1e-3] * bands, "offsets": [-0.1] * bands, "units": ["K"] * bands}
    image = read_image(tiff(values, **tags))
    assert image.kind == ValueKind(dtype, scaled=True, unit="K")
    assert image.pixels.dtype == torch.float32
    wanted = np.broadcast_to(values * 1e-3 - 0.1, (3, 4, 5))
    assert np.allclose(image.pixels.numpy(), wanted, rtol=1e-6)


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize(
    ("dtype", "nodata"), [("uint16", 0), ("int16", -9999), ("float32", np.nan)]
)
def test_nodata_of_a_geotiff_is_missing(dtype: str, nodata: float, bands: int) -> None:
    values = RNG.integers(1, 100, (bands, 6, 5)).astype(dtype)
    values[:, :2] = nodata
    image = read_image(tiff(values, nodata=nodata))
    assert image.missing is not None
    assert image.missing.shape == image.pixels.shape
    assert image.missing[:, :2].all()
    assert not image.missing[:, 2:].any()
    for band in range(bands):
        assert np.allclose(image.pixels[band, :2].numpy(), values[band, 2:].mean())
    with pytest.raises(UnreadableImageError, match=r"x\.tif.*no valid pixel: check its nodata"):
        read_image(tiff(np.full_like(values, nodata), nodata=nodata), name="x.tif")


def test_black_of_one_band_is_no_missing_pixel_of_8_bits() -> None:
    values = RNG.integers(1, 255, (3, 6, 5), dtype=np.uint8)
    values[:, :2], values[0, 3:] = 0, 0
    image = read_image(tiff(values, nodata=0))
    assert image.kind == UINT8
    assert image.pixels.dtype == torch.uint8
    assert image.missing is not None
    assert not image.missing[:, 2:].any()
    assert np.array_equal(image.pixels[:, 2:].numpy(), values[:, 2:])
    assert (image.pixels[1, :2] == round(values[1, 2:].mean())).all()


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("value", [np.nan, np.inf, -3.4e38])
def test_undeclared_nan_names_the_file_and_the_remedy(
    tmp_path: Path, bands: int, value: float
) -> None:
    values = RNG.random((bands, 6, 5)).astype("float32")
    values[0, 2, 2] = value
    (tmp_path / "003.tif").write_bytes(tiff(values))
    with pytest.raises(UnreadableImageError, match=r"003\.tif has pixels of .* nodata value") as e:
        ImageFolder(tmp_path)[0]
    assert "base_lr" not in str(e.value)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("bands", [2, 5])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_other_numbers_of_bands_are_never_dropped(bands: int, dtype: str) -> None:
    data = tiff(np.ones((bands, 6, 5), dtype))
    with pytest.raises(UnreadableImageError, match=f"{bands} bands: read it with RasterWindows"):
        read_image(data, name="x.tif")


def test_infrared_is_not_dropped_as_transparency() -> None:
    values = RNG.integers(1, 255, (4, 6, 5), dtype=np.uint8)
    with pytest.raises(UnreadableImageError, match="4 bands: read it with RasterWindows"):
        read_image(tiff(values, photometric="RGB", ALPHA="NO"))
    alpha = read_image(tiff(values, photometric="RGB", ALPHA="YES"))
    assert np.array_equal(alpha.pixels.numpy(), values[:3])


def test_complex_numbers_are_refused_by_name() -> None:
    data = tiff(np.full((1, 4, 4), 3 + 4j, "complex64"))
    with pytest.raises(UnreadableImageError, match=r"slc\.tif: .*complex"):
        read_image(data, name="slc.tif")


def jpeg(**options: Any) -> bytes:
    pixels = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return encode(PillowImage.fromarray(pixels), "JPEG", **options)


@pytest.mark.parametrize("stray", [b"\0\0", b"\xff\0", b"abc", b"\xff\xff\xff"])
@pytest.mark.parametrize("marker", [b"\xff\xdb", b"\xff\xc0", b"\xff\xc4", b"\xff\xda"])
def test_stray_bytes_between_the_segments_of_a_header_do_no_harm(
    marker: bytes, stray: bytes
) -> None:
    data = jpeg()
    place = data.find(marker)
    odd = data[:place] + stray + data[place:]
    wanted = np.array(PillowImage.open(io.BytesIO(odd)).convert("RGB"))
    assert np.array_equal(read_image(odd).pixels.permute(1, 2, 0).numpy(), wanted)
    half = read_image(odd, min_size=(32, 32))
    assert tuple(half.pixels.shape) == (3, 32, 32)
    assert half.full_size == (64, 64)
    with pytest.raises(UnreadableImageError, match="premature end"):
        read_image(odd[: len(odd) // 2] + b"\xff\xd9")


@pytest.mark.parametrize("kind", ["JPEG", "GIF", "BMP", "WEBP", "TIFF"])
def test_content_tells_the_format_not_the_ending(tmp_path: Path, kind: str) -> None:
    picture = PillowImage.fromarray(np.full((8, 8, 3), 90, np.uint8))
    (tmp_path / "x.png").write_bytes(encode(picture, kind))
    image = ImageFolder(tmp_path)[0]
    assert image.kind == UINT8
    assert (image.pixels.float() - 90).abs().max() <= 2


def test_first_picture_of_several_counts() -> None:
    frames = [PillowImage.new("RGB", (8, 8), (i, i, i)) for i in (50, 200)]
    for kind in ("MPO", "GIF", "PNG"):
        data = encode(frames[0], kind, save_all=True, append_images=frames[1:])
        assert (read_image(data).pixels.float() - 50).abs().max() <= 2


def test_heic_answers_with_what_to_do() -> None:
    data = struct.pack(">I", 24) + b"ftypheic" + b"\0" * 40
    with pytest.raises(UnreadableImageError, match=r"p\.jpg: .*HEIC is not supported: convert it"):
        read_image(data, name="p.jpg")
