from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mmcv._ext", reason="extra openmmlab is not installed")
pytest.importorskip("rasterio")

import mmcv
import rasterio
from mmengine.registry import TRANSFORMS
from PIL import Image as PillowImage

from benchmarks.openmmlab.loading import LoadPicture, LoadRaster
from benchmarks.openmmlab.photometric import BandPhotometricDistortion
from cmid.data import UnreadableImageError


def write(path: Path, values: np.ndarray, **more: object) -> str:
    """``(C, H, W)``"""
    shape = dict(zip(("count", "height", "width"), values.shape, strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="GTiff", dtype=values.dtype, **shape, **more) as file:
            file.write(values)
    return str(path)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("bands", [1, 4, 10])
def test_rasters_load_with_all_their_bands(tmp_path: Path, dtype: str, bands: int) -> None:
    values = np.random.default_rng(0).integers(1, 200, (bands, 8, 10)).astype(dtype)
    path = write(tmp_path / "a.tif", values)
    loaded = TRANSFORMS.build({"type": "LoadRaster"})({"img_path": path})
    assert loaded["img"].dtype == ("uint8" if dtype == "uint8" else "float32")
    assert np.array_equal(loaded["img"], values.transpose(1, 2, 0))
    assert loaded["img_shape"] == loaded["ori_shape"] == (8, 10)
    assert not loaded["missing"].any()


def test_bands_come_in_the_order_asked_for(tmp_path: Path) -> None:
    values = np.arange(1, 4 * 80 + 1, dtype=np.uint16).reshape(4, 8, 10)
    path = write(tmp_path / "a.tif", values)
    loaded = LoadRaster(bands=[4, 2])({"img_path": path})
    assert np.array_equal(loaded["img"], values[[3, 1]].transpose(1, 2, 0))
    with pytest.raises(ValueError, match=r"a\.tif has 4 bands.* asks for 5"):
        LoadRaster(bands=[5])({"img_path": path})


def test_missing_values_take_the_mean_of_their_band(tmp_path: Path) -> None:
    values = np.full((3, 8, 10), 7, np.int16)
    values[:, :2] = -1
    values[2, 4] = -1
    path = write(tmp_path / "a.tif", values, nodata=-1)
    loaded = LoadRaster()({"img_path": path})
    assert (loaded["img"] == 7).all()
    assert np.array_equal(loaded["missing"], (values == -1).all(axis=0))
    assert loaded["missing"].sum() == 20
    assert LoadRaster(nodata=7)({"img_path": path})["img"].max() == -1
    write(tmp_path / "a.tif", np.full((2, 4, 4), np.nan, np.float32))
    loaded = LoadRaster()({"img_path": path})
    assert loaded["missing"].all()
    assert not loaded["img"].any()


def test_unreadable_rasters_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"a\.tif is not a readable raster"):
        LoadRaster()({"img_path": str(tmp_path / "a.tif")})
    with pytest.raises(UnreadableImageError, match=r"b\.tif: no such file"):
        LoadRaster()({"img_path": str(tmp_path / "b.tif")})


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("bands", [1, 3, 4, 10])
def test_distortion_keeps_type_and_shape(dtype: str, bands: int) -> None:
    image = np.random.default_rng(0).integers(0, 200, (8, 10, bands)).astype(dtype)
    distorted = BandPhotometricDistortion(prob=1)({"img": image.copy()})["img"]
    assert distorted.dtype == image.dtype
    assert distorted.shape == image.shape
    assert not np.array_equal(distorted, image)
    assert np.array_equal(BandPhotometricDistortion(prob=0)({"img": image})["img"], image)


def test_distortion_changes_brightness_and_contrast_of_each_band() -> None:
    image = np.random.default_rng(0).normal(size=(32, 32, 4)).astype(np.float32) * [1, 10, 1e3, 1e4]
    image = image.astype(np.float32)
    contrasts, shifts = [], []
    for _ in range(200):
        distorted = BandPhotometricDistortion(prob=1)({"img": image})["img"]
        contrasts.append(np.log(distorted.std(axis=(0, 1)) / image.std(axis=(0, 1))))
        shift = distorted.mean(axis=(0, 1)) - image.mean(axis=(0, 1))
        shifts.append(shift / image.std(axis=(0, 1)))
    contrasts, shifts = np.array(contrasts), np.array(shifts)
    assert np.abs(contrasts).max() <= 0.4 * 1.3 + 1e-3
    assert np.abs(shifts).max() <= 0.5 * 1.3 + 1e-3
    assert (np.abs(contrasts).max(axis=0) > 0.35).all()  # in every unit alike
    together = np.corrcoef(shifts.T)[0, 1]
    assert 0.8 < together < 0.999  # mostly one light for all bands, not only


def test_distortion_clips_whole_numbers() -> None:
    image = np.tile(np.array([0, 255], np.uint8), (8, 4))[..., None]
    for _ in range(20):
        distorted = BandPhotometricDistortion(prob=1)({"img": image})["img"]
        assert distorted[:, ::2].max() < 128 < distorted[:, 1::2].min()


@pytest.mark.parametrize(
    ("name", "bands", "dtype"), [("naip", 4, "uint8"), ("landsat", 4, None), ("hls", 10, "float32")]
)
def test_real_rasters_load(shared_data: Path, name: str, bands: int, dtype: str | None) -> None:
    path = sorted((shared_data / "geotiff" / name).glob("*.tif"))[0]
    loaded = LoadRaster()({"img_path": str(path)})
    assert loaded["img"].shape[2] == bands
    assert dtype in (None, loaded["img"].dtype)
    assert np.isfinite(loaded["img"]).all()


@pytest.mark.parametrize("ending", ["png", "jpg", "tif"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_pictures_in_order_load_as_by_opencv(tmp_path: Path, ending: str, mode: str) -> None:
    shape = (40, 50) if mode == "L" else (40, 50, 3)
    values = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    path = tmp_path / f"a.{ending}"
    PillowImage.fromarray(values).save(path)
    loaded = TRANSFORMS.build({"type": "LoadPicture"})({"img_path": str(path)})
    assert np.array_equal(loaded["img"], mmcv.imread(str(path)))
    assert loaded["img_shape"] == loaded["ori_shape"] == (40, 50)
    assert "missing" not in loaded


@pytest.mark.parametrize("ending", ["png", "jpg", "tif"])
@pytest.mark.parametrize("kept", [0.0, 0.01, 0.6])
def test_damaged_pictures_are_named(tmp_path: Path, ending: str, kept: float) -> None:
    path = tmp_path / f"a.{ending}"
    values = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    PillowImage.fromarray(values).save(path)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(UnreadableImageError, match=rf"a\.{ending}: (not a readable|file is empty)"):
        LoadPicture()({"img_path": str(path)})


def test_missing_values_of_a_picture_are_told(tmp_path: Path) -> None:
    values = np.full((3, 8, 10), 7, np.uint8)
    values[:, :2] = 0
    path = write(tmp_path / "a.tif", values, nodata=0)
    loaded = LoadPicture()({"img_path": path})
    assert (loaded["img"] == 7).all()
    assert np.array_equal(loaded["missing"], (values == 0).all(axis=0))
