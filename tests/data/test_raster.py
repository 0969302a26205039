import builtins
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from cmid.data import RasterWindows, UnreadableImageError, open_source
from cmid.data.raster_reading import read_raster

rasterio = pytest.importorskip("rasterio")
from rasterio.enums import Resampling  # noqa: E402
from rasterio.windows import Window  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
GEOTIFF = Path(__file__).parents[2].parent / "shared/data/geotiff"
RNG = np.random.default_rng(0)


def write(path, array, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = {"count": array.shape[0], "height": array.shape[1], "width": array.shape[2]}
        options = {"driver": "GTiff", "dtype": array.dtype, **shape, **options}
        with rasterio.open(path, "w", **options) as scene:
            scene.write(array)
    return path


def values(bands=3, height=90, width=120, dtype="uint8", low=1):
    return RNG.integers(low, 255, (bands, height, width)).astype(dtype)


def box(image):
    """Top, left and side that a window's name tells."""
    rows, columns = image.name.rpartition("[")[2].rstrip("]").split(", ")
    top, bottom = map(int, rows.split(":"))
    return top, int(columns.split(":")[0]), bottom - top


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
def test_windows_equal_the_scene(tmp_path, dtype):
    array = values(5, dtype=dtype) * (-1 if dtype == "int16" else 1)
    path = write(tmp_path / "a.tif", array)
    source = RasterWindows(path, window=32)
    assert source.num_bands == 5
    assert len(source) == 90 * 120 // 32**2
    for i in range(len(source)):
        image = source.read(i, generator=np.random.default_rng(i))
        top, left, side = box(image)
        assert side == 32
        assert image.full_size == (32, 32)
        assert image.pixels.dtype == (torch.uint8 if dtype == "uint8" else torch.float32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with rasterio.open(path) as scene:
                wanted = scene.read(window=Window(left, top, side, side))
        assert np.array_equal(image.pixels.numpy(), wanted.astype(image.pixels.numpy().dtype))


def test_bands_are_chosen_in_their_order(tmp_path):
    array = values(4)
    image = RasterWindows(write(tmp_path / "a.tif", array), window=16, bands=[3, 1])[0]
    top, left, side = box(image)
    cut = array[[2, 0], top : top + side, left : left + side]
    assert np.array_equal(image.pixels.numpy(), cut)
    with pytest.raises(ValueError, match=r"a\.tif has 4 bands, counted from 1; bands asks for 5"):
        RasterWindows(tmp_path / "a.tif", bands=[1, 5])
    with pytest.raises(ValueError, match="asks for 0"):
        RasterWindows(tmp_path / "a.tif", bands=[0])


def test_scenes_must_agree(tmp_path):
    first, second = write(tmp_path / "a.tif", values(3)), write(tmp_path / "b.tif", values(4))
    with pytest.raises(ValueError, match=r"a\.tif has 3 bands, .*b\.tif has 4: choose common"):
        RasterWindows(tmp_path)
    assert RasterWindows([str(first), str(second)], bands=[1, 2, 3]).num_bands == 3
    write(second, values(3, dtype="uint16"))
    with pytest.raises(ValueError, match=r"a\.tif is uint8, .*b\.tif is uint16"):
        RasterWindows(tmp_path)


def test_scenes_are_drawn_by_area(tmp_path):
    write(tmp_path / "deep/large.TIF", values(1, 300, 300))
    write(tmp_path / "small.tif", values(1, 100, 100))
    (tmp_path / "small.tif.aux.xml").touch()
    source = RasterWindows(tmp_path, window=50, windows_per_epoch=400)
    assert len(source) == 400
    small = sum("small" in source[i].name for i in range(400))
    assert small == 40
    generator = np.random.default_rng(0)
    places = {box(source.read(7, generator=generator))[:2] for _ in range(50)}
    assert len(places) == 50
    assert len(RasterWindows(tmp_path, window=250)) == 2
    assert len(RasterWindows(f"{tmp_path}/**/*.TIF")) == 1


def test_same_index_and_state_give_the_same_window(tmp_path):
    source = RasterWindows(write(tmp_path / "a.tif", values()), window=20)
    other = pickle.loads(pickle.dumps(source))
    for make in (lambda: None, lambda: np.random.default_rng(5)):
        first, second = source.read(3, generator=make()), other.read(3, generator=make())
        assert first.name == second.name
        assert torch.equal(first.pixels, second.pixels)
    assert source[3].name != source[4].name
    with pytest.raises(IndexError):
        source[len(source)]


def test_scene_smaller_than_the_window(tmp_path):
    source = RasterWindows(write(tmp_path / "a.tif", values(2, 30, 40)), window=64)
    assert len(source) == 1
    assert tuple(source[0].pixels.shape) == (2, 30, 30)
    assert source[0].full_size == (30, 30)


def test_overviews_are_read_where_they_suffice(tmp_path):
    smooth = np.add.outer(np.arange(256), np.arange(256))[None] // 3
    path = write(tmp_path / "a.tif", smooth.astype(np.uint8), tiled=True, blockxsize=64)
    with rasterio.open(path, "r+") as scene:
        scene.build_overviews([2, 4], Resampling.average)
    source = RasterWindows(path, window=128)
    for needed, side in ((20, 32), (32, 32), (33.5, 64), (64, 64), (65, 128), (500, 128)):
        image = source.read(1, min_size=(needed, 10))
        assert tuple(image.pixels.shape) == (1, side, side)
        assert image.full_size == (128, 128)
        top, left, _ = box(image)
        cut = smooth[0, top : top + 128, left : left + 128]
        factor = 128 // side
        wanted = cut.reshape(side, factor, side, factor).mean(axis=(1, 3))
        assert np.abs(image.pixels[0].numpy() - wanted).max() < 2


def test_nodata_is_filled_with_the_band_mean(tmp_path):
    array = values(2, 40, 40, "float32")
    array[0, :10] = -9999
    array[1, 0, 0] = np.nan
    path = write(tmp_path / "a.tif", array, nodata=-9999)
    pixels = RasterWindows(path, window=40)[0].pixels.numpy()
    assert np.allclose(pixels[0, :10], array[0, 10:].mean())
    assert np.array_equal(pixels[0, 10:], array[0, 10:])
    assert np.isclose(pixels[1, 0, 0], np.nanmean(array[1]))
    kept = RasterWindows(path, window=40, nodata=123456)[0].pixels
    assert kept.min() == -9999


@pytest.mark.parametrize(
    ("dtype", "value"), [("uint8", -9999), ("uint8", 0.5), ("int16", 65535), ("float32", 1e39)]
)
def test_nodata_that_a_type_cannot_hold_is_an_error(tmp_path, dtype, value):
    path = write(tmp_path / "a.tif", values(1, 40, 40, dtype))
    for read in (RasterWindows, read_raster):
        with pytest.raises(ValueError, match=rf"no number of {dtype}, which .*a.tif holds: give"):
            read(path, nodata=value)


def test_uint8_is_missing_only_where_all_bands_are(tmp_path):
    array = values(3, 40, 40)
    array[:, :10] = 0
    array[0, 20:] = 0
    path = write(tmp_path / "a.tif", array, nodata=0)
    pixels = RasterWindows(path, window=40)[0].pixels.numpy()
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels[:, 10:], array[:, 10:])
    for band in range(3):
        assert (pixels[band, :10] == round(array[band, 10:].mean())).all()


def test_windows_with_much_nodata_are_drawn_again(tmp_path):
    array = values(1, 200, 200)
    array[:, :, :150] = 0
    path = write(tmp_path / "a.tif", array, nodata=0)
    filled = RasterWindows(path, window=20, max_nodata=0.2, max_draws=60)
    for i in range(len(filled)):
        _, left, side = box(filled[i])
        assert max(150 - left, 0) / side <= 0.2
    once = RasterWindows(path, window=20, max_draws=1, windows_per_epoch=30)
    with pytest.raises(UnreadableImageError, match="no valid pixel in 1 draws"):
        [once[i] for i in range(30)]


def test_stored_masks_count(tmp_path):
    array = values(3, 40, 40)
    mask = np.full((40, 40), 255, np.uint8)
    mask[:, :8] = 0
    path = write(tmp_path / "a.tif", array)
    with rasterio.open(path, "r+") as scene:
        scene.write_mask(mask)
    pixels = RasterWindows(path, window=40)[0].pixels.numpy()
    assert (pixels[1, :, :8] == round(array[1, :, 8:].mean())).all()
    # RGB and infrared: rasterio declares the fourth band alpha unless told otherwise.
    path = write(tmp_path / "b.tif", values(4, 40, 40, low=0), photometric="RGB", ALPHA="YES")
    with rasterio.open(path) as scene:
        assert np.array_equal(RasterWindows(path, window=40)[0].pixels.numpy(), scene.read())


def test_other_formats(tmp_path):
    array = values(6, 40, 50, "int16")
    envi = write(tmp_path / "2000TM", array, driver="ENVI")
    hfa = write(tmp_path / "folder/scene.img", array, driver="HFA")
    for path in (envi, hfa, hfa.parent):
        image = RasterWindows(path, window=40)[0]
        top, left, side = box(image)
        assert np.array_equal(
            image.pixels.numpy(), array[:, top : top + side, left : left + side].astype(np.float32)
        )


def test_missing_and_broken_scenes(tmp_path):
    for wanted in (tmp_path / "gone.tif", tmp_path, f"{tmp_path}/*.tif"):
        with pytest.raises(FileNotFoundError, match="no raster at"):
            RasterWindows(wanted)
    (tmp_path / "text.tif").write_text("no")
    with pytest.raises(ValueError, match=r"text\.tif is not a readable raster"):
        RasterWindows(tmp_path / "text.tif")
    path = write(tmp_path / "cut.tif", values(3, 200, 200))
    path.write_bytes(path.read_bytes()[:40_000])
    with pytest.raises(UnreadableImageError, match=r"cut\.tif\[.*replace the file") as caught:
        RasterWindows(path, window=200)[0]
    assert "\n" not in str(caught.value)


def test_missing_rasterio_names_the_extra(tmp_path, monkeypatch):
    def without(name, *args, **kwargs):
        if name == "rasterio":
            raise ModuleNotFoundError(name)
        return original(name, *args, **kwargs)

    original = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install 'cmid\[geo\]'"):
        RasterWindows(tmp_path)


def test_no_warnings_and_no_open_files_in_a_pickle(tmp_path):
    path = write(tmp_path / "a.tif", values())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source = RasterWindows(path, window=20)
        before = source[2].pixels
        data = pickle.dumps(source)
    assert len(data) < 2000
    assert torch.equal(pickle.loads(data)[2].pixels, before)


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_read_the_same(tmp_path, context):
    for i in range(3):
        write(tmp_path / f"{i}.tif", values(4, dtype="uint16"), tiled=True, blockxsize=32)
    source = RasterWindows(tmp_path, window=20)
    wanted = [source[i].pixels for i in range(len(source))]
    loader = torch.utils.data.DataLoader(
        source, batch_size=None, num_workers=2, multiprocessing_context=context
    )
    for image, pixels in zip(loader, wanted, strict=True):
        assert torch.equal(image.pixels, pixels)


def test_open_source_cuts_windows_when_asked(tmp_path):
    path = write(tmp_path / "a.tif", values())
    assert open_source(tmp_path, window=32).window == 32
    assert open_source(path).window == 256
    assert open_source(f"{tmp_path}/*.tif", bands=[1]).num_bands == 1
    assert not isinstance(open_source(tmp_path), RasterWindows)


@pytest.mark.skipif(not GEOTIFF.is_dir(), reason="real scenes are not here")
@pytest.mark.parametrize(
    ("folder", "bands", "dtype"),
    [("naip", 4, torch.uint8), ("landsat", 4, torch.uint8), ("hls", 10, torch.float32)],
)
def test_real_scenes(folder, bands, dtype):
    source = RasterWindows(GEOTIFF / folder, window=128)
    for i in range(0, len(source), 9):
        image = source.read(i, generator=np.random.default_rng(i))
        assert tuple(image.pixels.shape) == (bands, 128, 128)
        assert image.pixels.dtype == dtype
        assert torch.isfinite(image.pixels.float()).all()
        assert image.pixels.float().std() > 0
