"""Rasters that are more than a file: products, sub-datasets, transparency, other resolutions."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from cmid.data import RasterWindows, UnreadableImageError
from cmid.data.raster_paths import find_rasters, on_disk
from cmid.data.raster_reading import read_raster
from cmid.data.raster_tiles import RasterTiles
from cmid.data.rasters import copy_raster
from cmid.data.windows import Window
from cmid.inference.scenes import Scene

rasterio = pytest.importorskip("rasterio")
from rasterio import shutil as raster_files  # noqa: E402
from rasterio.enums import ColorInterp  # noqa: E402
from rasterio.transform import from_origin  # noqa: E402

RNG = np.random.default_rng(0)
METADATA = """<n1:Level-2A_User_Product xmlns:n1="https://psd"><QUANTIFICATION_VALUES_LIST>
<BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>
<AOT_QUANTIFICATION_VALUE>1000.0</AOT_QUANTIFICATION_VALUE></QUANTIFICATION_VALUES_LIST>
<BOA_ADD_OFFSET_VALUES_LIST><BOA_ADD_OFFSET band_id="1">-1000</BOA_ADD_OFFSET>
<BOA_ADD_OFFSET band_id="4">-1000</BOA_ADD_OFFSET></BOA_ADD_OFFSET_VALUES_LIST>
</n1:Level-2A_User_Product>"""


def write(path: Path, array: np.ndarray, *, pixel: float = 10, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = {"count": len(array), "height": array.shape[1], "width": array.shape[2]}
    place = {"crs": "EPSG:32633", "transform": from_origin(500_000, 5_000_000, pixel, pixel)}
    profile = {"driver": "GTiff", "dtype": array.dtype, **shape, **place, **options}
    with rasterio.open(path, "w", **profile) as file:
        file.write(array)
    return path


def product(folder: Path) -> dict[str, np.ndarray]:
    """A small product of Sentinel-2, of three resolutions; its bands."""
    arrays = {}
    for name, pixel, side in (("B02", 10, 48), ("B05", 20, 24), ("B01", 60, 8)):
        arrays[name] = RNG.integers(1001, 3000, (1, side, side)).astype("uint16")
        for coarse in {pixel, 60}:
            array = arrays[name] if coarse == pixel else np.ones((1, 8, 8), "uint16")
            path = folder / f"GRANULE/L2A_T33/IMG_DATA/R{coarse}m/T33_{name}_{coarse}m.jp2"
            write(path, array, pixel=coarse, driver="JP2OpenJPEG", QUALITY=100, REVERSIBLE="YES")
    write(folder / "GRANULE/L2A_T33/QI_DATA/MSK.jp2", np.ones((1, 8, 8), "uint8"), pixel=60,
          driver="JP2OpenJPEG")  # fmt: skip
    (folder / "MTD_MSIL2A.xml").write_text(METADATA)
    return arrays


def test_a_product_of_sentinel_2_is_one_raster_of_all_bands(tmp_path: Path) -> None:
    folder = tmp_path / "scenes/S2A_MSIL2A.SAFE"
    arrays = product(folder)
    assert find_rasters(tmp_path) == find_rasters(folder) == [str(folder)]
    source = RasterWindows(tmp_path, window=48, sensor="sentinel2_l2a", bands=["B02", "B05", "B01"])
    pixels = source[0].pixels.numpy()
    assert str(source.kind) == "uint16, scaled, in reflectance"
    # The offset of the metadata, which has none for B01, and not the sensor's usual one.
    assert np.allclose(pixels[0], (arrays["B02"][0].astype(float) - 1000) / 10_000)
    assert pixels[1].mean() == pytest.approx((arrays["B05"].mean() - 1000) / 10_000, rel=0.05)
    assert pixels[2].mean() == pytest.approx(arrays["B01"].mean() / 10_000, rel=0.05)
    values, missing = read_raster(folder, bands=["B02"])
    assert np.array_equal(values, pixels[:1])
    assert not missing.any()
    copy_raster(folder, tmp_path / "packed.tif", tiled=True)
    assert np.allclose(read_raster(tmp_path / "packed.tif", bands=["B02"])[0], values)
    (folder / "GRANULE/L2A_T33/IMG_DATA").rename(tmp_path / "gone")
    from cmid.data.sentinel_safe import safe_raster

    safe_raster.cache_clear()
    with pytest.raises(UnreadableImageError, match=r"\.SAFE .*give a whole product"):
        RasterWindows(folder, window=48)


def test_a_sub_dataset_is_read_by_its_name_and_others_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "several.h5"
    a = RNG.integers(-500, 500, (10, 12)).astype("int16")
    with h5py.File(path, "w") as file:
        file["a"], file["b"] = a, np.zeros((10, 12), "float32")
    name = f"HDF5:{path}://a"
    assert on_disk(name) == on_disk(f'NETCDF:"{path}":a') == path
    assert np.array_equal(read_raster(name)[0][0], a)
    assert np.array_equal(
        RasterWindows(name, window=10, windows_per_epoch=1)[0].pixels.shape[1:], [10, 10]
    )
    with pytest.raises(ValueError, match=r"name one of its sub-datasets, such as HDF5:.*://a or"):
        RasterWindows(path, window=10)
    with pytest.raises(FileNotFoundError, match="no raster at"):
        RasterWindows(f"HDF5:{tmp_path}/gone.h5://a", window=10)


def test_scale_offset_and_fill_of_a_netcdf_variable_count(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    stored = RNG.integers(1, 500, (1, 10, 12)).astype("int16")
    stored[0, 0, 0] = -99
    with h5py.File(path, "w") as file:  # NetCDF-4 is HDF5
        file.attrs["Conventions"] = np.bytes_("CF-1.8")
        variable = file.create_dataset("ndvi", data=stored[0], fillvalue=np.int16(-99))
        variable.attrs["scale_factor"], variable.attrs["add_offset"] = 0.01, 2.0
        variable.attrs["_FillValue"] = np.int16(-99)
    values, missing = read_raster(f"NETCDF:{path}:ndvi")
    values, missing = (
        array[:, ::-1] if missing[0, -1, 0] else array for array in (values, missing)
    )
    assert missing.sum() == 1
    assert missing[0, 0, 0]
    assert np.allclose(values[0, 1:], stored[0, 1:] * 0.01 + 2)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_transparent_pixels_are_missing(tmp_path: Path, dtype: str) -> None:
    array = RNG.integers(1, 200, (4, 40, 40)).astype(dtype)
    array[3], array[3, :10] = np.iinfo(dtype).max, 0
    path = write(tmp_path / "a.tif", array, photometric="RGB", ALPHA="YES")
    with rasterio.open(path) as file:
        assert file.colorinterp[3] is ColorInterp.alpha
    image = RasterWindows(path, window=40, bands=[1, 2, 3])[0]
    assert image.missing is not None
    assert image.missing[:, :10].all()
    assert not image.missing[:, 10:].any()
    # Infrared that the writer declared alpha hides nothing.
    array[3] = RNG.integers(0, 3, (40, 40))
    path = write(tmp_path / "b.tif", array, photometric="RGB", ALPHA="YES")
    assert RasterWindows(path, window=40, bands=[1, 2, 3])[0].missing is None


def test_transparency_that_is_read_like_a_band_is_told(tmp_path: Path, caplog) -> None:
    array = RNG.integers(1, 200, (4, 40, 40)).astype("uint8")
    infrared = write(tmp_path / "b.tif", array, photometric="RGB", ALPHA="YES")
    array[3], array[3, :10] = 255, 0
    path = write(tmp_path / "a.tif", array, photometric="RGB", ALPHA="YES")
    for quiet in (lambda: RasterWindows(infrared), lambda: RasterWindows(path, bands=[1, 2, 3])):
        quiet()
    assert not caplog.records
    for read in (RasterWindows, RasterTiles, Scene):
        read(path)
        assert "a.tif: band 4 is transparency, and is read like any other" in caplog.text
        caplog.clear()


def test_a_virtual_raster_without_its_files_is_an_error_that_names_them(tmp_path: Path) -> None:
    path = write(tmp_path / "in/a.tif", RNG.integers(1, 200, (1, 40, 40)).astype("uint8"))
    with rasterio.open(path) as file:
        raster_files.copy(file, tmp_path / "a.vrt", driver="VRT")
        raster_files.copy(file, tmp_path / "whole.vrt", driver="VRT")
    outer = (tmp_path / "a.vrt").read_text().replace("in/a.tif", "whole.vrt")
    (tmp_path / "outer.vrt").write_text(outer)
    for name in ("a.vrt", "outer.vrt"):
        assert np.array_equal(read_raster(tmp_path / name)[0], read_raster(path)[0])
    path.rename(path.with_name("b.tif"))
    for name in ("a.vrt", "outer.vrt"):
        for read in (RasterWindows, read_raster, Scene):
            with pytest.raises(ValueError, match=rf"{name} needs .*in/a.tif, which is not there"):
                read(tmp_path / name)


def test_windows_of_one_resolution_are_cut_from_scenes_of_several(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:80, :80]
    ramp = (100 + rows + 2 * columns).astype("int16")[None] * -1  # nothing is positive
    coarse = ramp.reshape(1, 40, 2, 40, 2).mean(axis=(2, 4)).astype("int16")
    coarse[:, :, :10] = -9999
    options = {"nodata": -9999}
    for name, array, pixel in (("a", ramp, 10), ("b", coarse, 20)):
        with rasterio.open(
            write(tmp_path / f"{name}.tif", array, pixel=pixel, **options), "r+"
        ) as f:
            f.scales, f.offsets = [0.1], [5]
    source = RasterWindows(tmp_path, window=80, resolution=10)
    first, second = source[0], source[1]
    wanted = ramp * 0.1 + 5
    assert np.allclose(first.pixels, wanted)
    assert tuple(second.pixels.shape) == (1, 80, 80)
    assert second.missing is not None
    absent = second.missing[0].numpy()
    assert absent[:, :20].all()
    assert not absent[:, 21:].any()
    inner = np.s_[0, 2:-2, 24:-2]
    assert np.abs(second.pixels.numpy()[inner] - wanted[inner]).max() < 0.2


def test_resampling_weights_nothing_by_infrared_and_keeps_masks(tmp_path: Path) -> None:
    array = np.full((4, 40, 40), 100, "uint8")
    array[3] = RNG.integers(0, 3, (40, 40))
    path = write(tmp_path / "a.tif", array, pixel=20, photometric="RGB", ALPHA="YES")
    image = RasterWindows(path, window=80, resolution=10, bands=[1, 2, 3])[0]
    assert (image.pixels == 100).all()
    assert image.missing is None
    mask = np.full((40, 40), 255, "uint8")
    mask[:, :10] = 0
    array[:, :, :10] = 7
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        path = write(tmp_path / "b.tif", array[:3], pixel=20)
        with rasterio.open(path, "r+") as file:
            file.write_mask(mask)
    image = RasterWindows(path, window=80, resolution=10)[0]
    assert image.missing is not None
    assert image.missing[:, :, :20].all()
    assert (image.pixels == 100).all()


def test_resampling_leaves_out_what_a_sensor_calls_missing(tmp_path: Path) -> None:
    array = np.full((12, 128, 128), 5000, "uint16")
    array[:, :, :61] = 0  # half of a pixel of 20 m
    path = write(tmp_path / "a.tif", array)
    image = RasterWindows(path, window=64, resolution=20, sensor="sentinel2_l2a")[0]
    assert image.missing is not None
    assert image.missing[:, :, :30].all()
    assert torch.allclose(image.pixels, torch.tensor(0.4))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_what_lies_beyond_a_turned_scene_is_missing(tmp_path: Path, dtype: str) -> None:
    turned = from_origin(500_000, 5_000_000, 10, 10) * rasterio.Affine.rotation(45)
    path = write(tmp_path / "a.tif", np.full((3, 60, 60), 9, dtype), transform=turned)
    values, missing = Scene(path, resolution=10).read(Window(0, 0, 84, 84))
    assert missing.mean() == pytest.approx(0.5, abs=0.03)
    assert (values[:, ~missing] == 9).all()


def test_what_cannot_be_resampled_is_refused_by_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", np.ones((1, 8, 8), "uint8"), crs=None)
    with pytest.raises(ValueError, match=r"a\.tif has no reference system: leave out"):
        RasterWindows(path, window=8, resolution=5)
    for side in (0, -10, float("nan")):
        with pytest.raises(ValueError, match=rf"resolution {side} must be a positive number"):
            RasterWindows(path, window=8, resolution=side)

    for number in (0, -3):
        with pytest.raises(ValueError, match=rf"windows_per_epoch {number} must be at least 1"):
            RasterWindows(path, window=8, windows_per_epoch=number)


def test_nothing_of_a_list_is_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", np.ones((1, 8, 8), "uint8"))
    (tmp_path / "empty").mkdir()
    for gone in ("typo.tif", "empty", "*.jp2"):
        with pytest.raises(FileNotFoundError, match=re.escape(f"no raster at {tmp_path / gone}:")):
            find_rasters([str(path), str(tmp_path / gone)])
    with pytest.raises(FileNotFoundError, match="no raster at an empty list"):
        find_rasters([])
