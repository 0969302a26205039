import io
import math
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from cmid.data import UnreadableImageError
from cmid.data.decoding import read_image

rasterio = pytest.importorskip("rasterio")
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def decode_image(data: Any, **options: Any) -> tuple[torch.Tensor, tuple[int, int]]:
    """Pixels and stored size."""
    image = read_image(data, **options)
    return image.pixels, image.full_size


def picture(height: int = 96, width: int = 128, *, seed: int = 0) -> PillowImage.Image:
    """A smooth colour picture: JPEG keeps it well, rotations and band swaps show."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return PillowImage.fromarray(coarse).resize((width, height), PillowImage.Resampling.BICUBIC)


def encode(image: PillowImage.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def to_tensor(image: PillowImage.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return 10 * math.log10(255**2 / max(float((a.float() - b.float()).pow(2).mean()), 1e-9))


def write_tiff(array: np.ndarray, **options: object) -> bytes:
    with rasterio.MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            count=len(array),
            height=array.shape[1],
            width=array.shape[2],
            dtype=array.dtype,
            **options,
        ) as scene:
            scene.write(array)
        return memory.read()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_jpeg_equals_pillow(options):
    data = encode(picture(), "JPEG", quality=90, **options)
    pixels, size = decode_image(data)
    assert pixels.dtype == torch.uint8
    assert tuple(pixels.shape) == (3, 96, 128)
    assert size == (96, 128)
    assert psnr(pixels, to_tensor(PillowImage.open(io.BytesIO(data)))) > 45


@pytest.mark.parametrize("stored", [(512, 512), (513, 767), (301, 1024)])
@pytest.mark.parametrize("share", [0.05, 0.125, 0.25, 0.3, 0.5, 0.51, 0.6, 0.625, 0.8, 1.0, 1.5])
def test_scaled_jpeg_is_never_too_small_or_too_large(stored, share):
    data = encode(picture(*stored), "JPEG", quality=90)
    needed = (stored[0] * share, stored[1] * share * 0.9)
    pixels, full_size = decode_image(data, min_size=needed)
    assert full_size == stored
    for got, whole, least in zip(pixels.shape[1:], stored, needed, strict=True):
        assert min(whole, least) <= got <= whole
    if share <= 0.5:
        assert pixels.shape[1] <= math.ceil(stored[0] * (math.ceil(share * 8) / 8))


@pytest.mark.parametrize("eighths", [1, 2, 3, 4, 5])
def test_scaled_jpeg_is_close_to_full_decoding(eighths):
    data = encode(picture(512, 512), "JPEG", quality=95)
    side = 512 * eighths // 8
    scaled, _ = decode_image(data, min_size=(side, side))
    assert tuple(scaled.shape) == (3, side, side)
    full = PillowImage.open(io.BytesIO(data))
    wanted = to_tensor(full.resize((side, side), PillowImage.Resampling.BOX, reducing_gap=None))
    assert psnr(scaled, wanted) > 38


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_grey_is_repeated(kind):
    pixels, _ = decode_image(encode(picture().convert("L"), kind))
    assert tuple(pixels.shape) == (3, 96, 128)
    assert pixels.dtype == torch.uint8
    if kind != "WEBP":  # which stores grey as colour
        assert torch.equal(pixels[0], pixels[2])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_one_band_is_luminance(kind):
    data = encode(picture(), kind)
    pixels, _ = decode_image(data, num_bands=1)
    assert tuple(pixels.shape) == (1, 96, 128)
    wanted = np.array(PillowImage.open(io.BytesIO(data)).convert("L"))
    assert psnr(pixels[0], torch.from_numpy(wanted)) > 45


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_lossless_formats(kind):
    pixels, size = decode_image(encode(picture(), kind))
    assert torch.equal(pixels, to_tensor(picture()))
    assert size == (96, 128)


def test_palette_and_alpha():
    palette = picture().quantize(256)
    assert torch.equal(decode_image(encode(palette, "PNG"))[0], to_tensor(palette.convert("RGB")))
    transparent = picture().convert("RGBA")
    transparent.putalpha(0)
    assert torch.equal(decode_image(encode(transparent, "PNG"))[0], to_tensor(picture()))


def test_cmyk_jpeg():
    data = encode(picture().convert("CMYK"), "JPEG", quality=95)
    pixels, _ = decode_image(data, min_size=(10, 10))
    assert psnr(pixels, to_tensor(picture())) > 35


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation):
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    data = encode(picture(), "JPEG", quality=95, exif=exif)
    pixels, size = decode_image(data, min_size=(1, 1) if orientation > 1 else None)
    upright = (128, 96) if orientation >= 5 else (96, 128)
    assert size == upright
    assert tuple(pixels.shape[1:]) == upright
    turned = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}[orientation]
    wanted = picture() if turned is None else picture().transpose(PillowImage.Transpose(turned))
    assert psnr(pixels, to_tensor(wanted)) > 35


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_values(kind):
    values = np.random.default_rng(0).integers(0, 65536, (9, 11), dtype=np.uint16)
    pixels, _ = decode_image(encode(PillowImage.fromarray(values), kind))
    assert pixels.dtype == torch.float32
    assert np.array_equal(pixels.numpy(), np.broadcast_to(values, (3, 9, 11)))


@pytest.mark.parametrize("bands", [3, 4])
@pytest.mark.parametrize("kind", ["PNG", "GTiff"])
def test_sixteen_bit_colour_keeps_values(kind, bands, tmp_path):
    values = np.random.default_rng(0).integers(0, 65536, (bands, 9, 11), dtype=np.uint16)
    if kind == "PNG":
        path = tmp_path / "image.png"
        shape = {"height": 9, "width": 11, "count": bands, "dtype": "uint16"}
        with rasterio.open(path, "w", driver="PNG", **shape) as scene:
            scene.write(values)
        data = path.read_bytes()
    else:
        options = {"photometric": "RGB", "ALPHA": "YES"} if bands == 4 else {}
        data = write_tiff(values, **options)
    pixels, _ = decode_image(data)
    assert pixels.dtype == torch.float32
    assert np.array_equal(pixels.numpy(), values[:3].astype(np.float32))
    assert tuple(decode_image(data, num_bands=1)[0].shape) == (1, 9, 11)
    with pytest.raises(UnreadableImageError):
        decode_image(data[: len(data) // 2])


def test_float_tiff_keeps_values():
    values = np.random.default_rng(0).normal(size=(3, 9, 11)).astype(np.float32)
    assert np.array_equal(decode_image(write_tiff(values))[0].numpy(), values)
    assert np.array_equal(decode_image(write_tiff(values[:1]))[0].numpy()[1], values[0])


def test_many_bands_name_the_right_source():
    with pytest.raises(UnreadableImageError, match="6 bands: read it with RasterWindows"):
        decode_image(write_tiff(np.zeros((6, 9, 11), np.uint16)), name="x.tif")
    with pytest.raises(ValueError, match="1 or 3 bands, not 4"):
        decode_image(encode(picture(), "PNG"), num_bands=4)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "progressive"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_truncated_file_is_an_error(kind, share):
    options = {"progressive": True} if kind == "progressive" else {}
    data = encode(picture(), "JPEG" if kind == "progressive" else kind, **options)
    with pytest.raises(UnreadableImageError, match=r"^cut\.img: .*replace the file") as caught:
        decode_image(data[: int(len(data) * share)], name="cut.img")
    assert "\n" not in str(caught.value)


def test_truncated_jpeg_with_an_end_mark_is_an_error():
    data = encode(picture(256, 256), "JPEG")
    with pytest.raises(UnreadableImageError, match="premature end"):
        decode_image(data[: len(data) // 2] + b"\xff\xd9")


def test_stray_bytes_in_a_jpeg_do_no_harm():
    data = encode(picture(), "JPEG", quality=90)
    pixels, _ = decode_image(data[:-2] + b"stray" + data[-2:] + b"trailing")
    assert psnr(pixels, decode_image(data)[0]) > 45


def test_missing_empty_and_other_files(tmp_path):
    with pytest.raises(UnreadableImageError, match=r"gone\.jpg: No such file"):
        decode_image(tmp_path / "gone.jpg")
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(UnreadableImageError, match=r"empty\.jpg: file is empty"):
        decode_image(tmp_path / "empty.jpg")
    (tmp_path / "text.png").write_text("<html>not found</html>")
    with pytest.raises(UnreadableImageError, match=r"text\.png: .*format not recognised"):
        decode_image(tmp_path / "text.png")
    with pytest.raises(UnreadableImageError, match="Is a directory"):
        decode_image(tmp_path)


def test_path_and_bytes_are_the_same(tmp_path):
    path = tmp_path / "image.png"
    picture().save(path)
    assert torch.equal(decode_image(path)[0], decode_image(path.read_bytes())[0])
    assert torch.equal(decode_image(str(path))[0], to_tensor(picture()))
