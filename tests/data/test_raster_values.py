"""What rasters mean: types, scale, offset, unit of their bands, missing pixels at every level."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cmid.data import RasterWindows, compute_statistics
from cmid.data.raster_reading import read_raster
from cmid.data.values import ValueKind

rasterio = pytest.importorskip("rasterio")
from rasterio.enums import Resampling  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
RNG = np.random.default_rng(0)


def write(
    path: Path,
    array: np.ndarray,
    *,
    scale: float | None = None,
    offset: float = 0.0,
    units: list[str] | None = None,
    **options: Any,
) -> Path:
    shape = {"count": array.shape[0], "height": array.shape[1], "width": array.shape[2]}
    with rasterio.open(path, "w", driver="GTiff", dtype=array.dtype, **shape, **options) as scene:
        scene.write(array)
        if scale is not None:
            scene.scales, scene.offsets = [scale] * len(array), [offset] * len(array)
        if units is not None:
            scene.units = units
    return path


def counts(dtype: str = "uint16", bands: int = 1) -> np.ndarray:
    return RNG.integers(1, 250, (bands, 40, 40)).astype(dtype)


def test_scenes_of_other_scale_and_offset_give_the_same_quantity(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", np.full((1, 40, 40), 1000, "uint16"), scale=1e-4)
    write(tmp_path / "b.tif", np.full((1, 40, 40), 2000, "uint16"), scale=1e-4, offset=-0.1)
    source = RasterWindows(tmp_path, window=40)
    assert source.kind == ValueKind("uint16", scaled=True)
    for i in range(2):
        assert torch.allclose(source[i].pixels, torch.tensor(0.1))
    values, _ = read_raster(tmp_path / "b.tif")
    assert np.allclose(values, 0.1)


def test_statistics_and_windows_agree_on_scaled_values(tmp_path: Path) -> None:
    array = counts("int16", 2)
    array[:, :10] = -9999
    path = write(tmp_path / "a.tif", array, scale=0.01, offset=5.0, nodata=-9999)
    source = RasterWindows(path, window=40)
    statistics = compute_statistics(source, progress=False)
    quantity = array[:, 10:] * 0.01 + 5
    assert np.allclose(statistics.minimum, quantity.min(axis=(1, 2)))
    assert np.allclose(statistics.maximum, quantity.max(axis=(1, 2)))
    unit = np.array(statistics.mean) * (np.array(statistics.high) - statistics.low)
    assert np.allclose(unit + statistics.low, quantity.mean(axis=(1, 2)))
    assert statistics.num_pixels == 30 * 40
    assert ValueKind.parse(statistics.kind) == source.kind
    statistics.check(source[0])


def test_stored_numbers_can_be_kept_where_all_scenes_agree(tmp_path: Path) -> None:
    array = counts()
    first = write(tmp_path / "a.tif", array, scale=1e-4)
    source = RasterWindows(first, window=40, physical=False)
    assert np.array_equal(source[0].pixels.numpy(), array.astype(np.float32))
    assert source.kind == ValueKind("uint16")
    write(tmp_path / "b.tif", counts(), scale=1e-4, offset=-0.1)
    with pytest.raises(
        ValueError, match=r"a\.tif has scale 0\.0001, offset 0, .*b\.tif has .*-0\.1"
    ):
        RasterWindows(tmp_path, window=40, physical=False)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("uint8", "uint16"),
        ("uint8", "float32"),
        ("uint8", "int8"),
        ("uint16", "int16"),
        ("uint16", "float32"),
        ("int16", "float64"),
        ("uint16", "uint32"),
    ],
)
def test_scenes_of_other_types_are_refused_by_both_names(
    tmp_path: Path, first: str, second: str
) -> None:
    write(tmp_path / "a.tif", np.full((1, 40, 40), 3, first))
    write(tmp_path / "b.tif", np.full((1, 40, 40), 3, second))
    for paths in ("ab", "ba"):
        with pytest.raises(ValueError, match=r"[ab]\.tif is .*, .*[ab]\.tif is ") as error:
            RasterWindows([str(tmp_path / f"{p}.tif") for p in paths], window=40)
        assert "\n" not in str(error.value)


def test_counts_are_not_mixed_with_scaled_values_but_reflectances_are(tmp_path: Path) -> None:
    scaled = write(tmp_path / "a.tif", counts(), scale=1e-4)
    plain = write(tmp_path / "b.tif", counts())
    quantity = write(tmp_path / "c.tif", RNG.random((1, 40, 40)).astype("float64"))
    with pytest.raises(ValueError, match=r"a\.tif is uint16, scaled, .*b\.tif is uint16:"):
        RasterWindows([str(scaled), str(plain)], window=40)
    for paths in ([scaled, quantity], [quantity, scaled]):
        source = RasterWindows([str(path) for path in paths], window=40)
        assert max(float(source[i].pixels.max()) for i in range(2)) <= 1


def test_units_and_types_of_bands_must_agree(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", counts("float32", 2), units=["K", "m"])
    write(tmp_path / "b.tif", counts("float32", 2), units=["degC", "m"])
    with pytest.raises(ValueError, match=r"a\.tif gives band 1 in K, .*b\.tif in degC"):
        RasterWindows(tmp_path, window=40)
    assert RasterWindows(tmp_path, window=40, bands=[2]).kind.unit == "m"


def test_bands_of_other_types_in_one_file_are_refused(tmp_path: Path) -> None:
    for name, dtype in (("a", "uint8"), ("b", "uint16")):
        write(tmp_path / f"{name}.tif", counts(dtype))
    band = """<VRTRasterBand dataType="{0}" band="{1}"><SimpleSource>
        <SourceFilename relativeToVRT="1">{2}.tif</SourceFilename><SourceBand>1</SourceBand>
        </SimpleSource></VRTRasterBand>"""
    bands = band.format("Byte", 1, "a") + band.format("UInt16", 2, "b")
    path = tmp_path / "both.vrt"
    path.write_text(f'<VRTDataset rasterXSize="40" rasterYSize="40">{bands}</VRTDataset>')
    with pytest.raises(ValueError, match=r"both\.vrt has bands of uint8 and uint16: choose"):
        RasterWindows(path, window=40)
    assert RasterWindows(path, window=40, bands=[2]).kind == ValueKind("uint16")


def test_complex_scenes_are_refused(tmp_path: Path) -> None:
    for dtype in ("complex64", "complex_int16"):
        path = tmp_path / f"{dtype}.tif"
        shape = {"count": 1, "height": 8, "width": 8, "dtype": dtype}
        with rasterio.open(path, "w", driver="GTiff", **shape):
            pass
        with pytest.raises(ValueError, match=rf"{dtype}\.tif: .*complex|no number"):
            RasterWindows(path, window=8)


@pytest.mark.parametrize("resampling", [Resampling.average, Resampling.nearest])
@pytest.mark.parametrize(("dtype", "nodata"), [("int16", -9999), ("float32", np.nan), ("uint8", 0)])
def test_overviews_mix_no_nodata_into_their_neighbours(
    tmp_path: Path, dtype: str, nodata: float, resampling: Resampling
) -> None:
    array = RNG.integers(100, 110, (2, 256, 256)).astype(dtype)
    array[:, RNG.random((256, 256)) < 0.3] = nodata
    array[:, :70] = nodata
    path = write(tmp_path / "a.tif", array, nodata=nodata, tiled=True, blockxsize=64, blockysize=64)
    with rasterio.open(path, "r+") as scene:
        scene.build_overviews([2, 4], resampling)
    source = RasterWindows(path, window=128, max_nodata=1.0, max_draws=1)
    for index in range(4):
        image = source.read(index, min_size=(32, 32), generator=np.random.default_rng(index))
        assert tuple(image.pixels.shape[1:]) == (32, 32)
        assert image.missing is None or image.missing.shape == image.pixels.shape
        assert float(image.pixels.min()) >= 100
        assert float(image.pixels.max()) <= 110


def test_nodata_that_the_file_does_not_know_is_read_in_full(tmp_path: Path) -> None:
    array = RNG.integers(100, 110, (1, 256, 256)).astype("int16")
    array[:, ::2, ::3] = -1
    path = write(tmp_path / "a.tif", array, tiled=True, blockxsize=64, blockysize=64)
    with rasterio.open(path, "r+") as scene:
        scene.build_overviews([2, 4], Resampling.average)
    image = RasterWindows(path, window=128, nodata=-1).read(0, min_size=(32, 32))
    assert tuple(image.pixels.shape[1:]) == (128, 128)
    assert float(image.pixels.min()) >= 100
    assert float(image.pixels.max()) <= 110
    assert image.missing is not None
    assert 0.1 < float(image.missing.float().mean()) < 0.25


def test_internal_masks_count_at_every_level(tmp_path: Path) -> None:
    array = RNG.integers(100, 110, (3, 256, 256)).astype("uint8")
    mask = np.full((256, 256), 255, np.uint8)
    mask[:, :100] = 0
    array[:, :, :100] = 7
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        path = write(tmp_path / "a.tif", array, tiled=True, blockxsize=64, blockysize=64)
        with rasterio.open(path, "r+") as scene:
            scene.write_mask(mask)
            scene.build_overviews([2, 4], Resampling.average)
    source = RasterWindows(path, window=128, max_nodata=0.95)
    for index in range(4):
        for side in (32, 128):
            image = source.read(index, min_size=(side, side))
            assert image.pixels.shape[1] == side
            assert int(image.pixels.min()) >= 100
            assert int(image.pixels.max()) <= 110


def test_each_band_may_have_its_own_nodata(tmp_path: Path) -> None:
    for name, nodata in (("a", 0), ("b", 255)):
        array = np.full((1, 40, 40), 100, "int16")
        array[:, :10] = nodata
        write(tmp_path / f"{name}.tif", array, nodata=nodata)
    band = """<VRTRasterBand dataType="Int16" band="{0}"><NoDataValue>{1}</NoDataValue>
        <SimpleSource><SourceFilename relativeToVRT="1">{2}.tif</SourceFilename>
        <SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"""
    bands = band.format(1, 0, "a") + band.format(2, 255, "b")
    path = tmp_path / "both.vrt"
    path.write_text(f'<VRTDataset rasterXSize="40" rasterYSize="40">{bands}</VRTDataset>')
    image = RasterWindows(path, window=40)[0]
    assert (image.pixels == 100).all()
    assert image.missing is not None
    assert image.missing[:, :10].all()


def test_undeclared_fill_of_the_smallest_float_is_refused_by_name(tmp_path: Path) -> None:
    array = RNG.random((1, 40, 40)).astype("float32")
    array[0, 0, 0] = np.finfo("float32").min
    source = RasterWindows(write(tmp_path / "a.tif", array), window=40)
    with pytest.raises(RuntimeError, match=r"a\.tif\[.* has pixels of -3\.4.*nodata value"):
        source[0]


def test_real_scenes_keep_their_kind(shared_data: Path) -> None:
    for folder, kind in (("naip", "uint8"), ("hls", "float32")):
        source = RasterWindows(shared_data / "geotiff" / folder, window=128)
        assert source.kind.dtype == kind
        assert not source.kind.scaled
        image = source[0]
        assert image.kind is not None
        assert image.kind.dtype == kind
