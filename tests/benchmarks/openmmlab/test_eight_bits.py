"""Images whose values OpenCV would change are refused, all others are not."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

pytest.importorskip("mmcv._ext", reason="extra openmmlab is not installed")
pytest.importorskip("rasterio")

import mmcv
import rasterio

from benchmarks.change_detection.loading import LoadPair
from benchmarks.openmmlab.annotations import LoadCheckedAnnotations
from benchmarks.openmmlab.eight_bits import check_eight_bits
from benchmarks.openmmlab.loading import LoadPicture


def write_tiff(path: Path, bands: int, dtype: str) -> Path:
    values = np.random.default_rng(0).integers(1, 200, (bands, 8, 10)).astype(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        shape = {"count": bands, "height": 8, "width": 10}
        with rasterio.open(path, "w", driver="GTiff", dtype=dtype, **shape) as file:
            file.write(values)
    return path


@pytest.mark.parametrize(("bands", "dtype"), [(4, "uint8"), (1, "uint16"), (3, "uint16")])
def test_tiffs_that_opencv_would_change_are_refused(tmp_path: Path, bands: int, dtype: str) -> None:
    path = write_tiff(tmp_path / "a.tif", bands, dtype)
    with rasterio.open(path) as file:
        stored = file.read()[:3].transpose(1, 2, 0)
    assert not np.array_equal(
        mmcv.imread(str(path), channel_order="rgb"), np.broadcast_to(stored, (8, 10, 3))
    )
    with pytest.raises(
        ValueError, match=r"a\.tif has not one or three bands of 8 bits.*LoadRaster"
    ):
        check_eight_bits(path)
    for load in (LoadPicture(), LoadPair()):
        with pytest.raises(ValueError, match=r"a\.tif has not one or three bands of 8 bits"):
            load({"img_path": str(path), "img_path2": str(path)})


@pytest.mark.parametrize("bands", [1, 3])
def test_tiffs_of_8_bits_are_taken(tmp_path: Path, bands: int) -> None:
    check_eight_bits(write_tiff(tmp_path / "a.tif", bands, "uint8"))


def test_png_of_16_bits_is_refused(tmp_path: Path) -> None:
    for shape in ((8, 10), (8, 10, 3)):
        mmcv.imwrite(np.full(shape, 2000, dtype=np.uint16), str(tmp_path / "a.png"))
        with pytest.raises(ValueError, match=r"a\.png has not one or three bands of 8 bits"):
            check_eight_bits(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("ending", "mode"),
    [
        *(("png", mode) for mode in ("1", "L", "P", "LA", "RGB", "RGBA")),
        *((ending, mode) for ending in ("tif", "jpg") for mode in ("L", "RGB")),
    ],
)
def test_usual_pictures_are_taken(tmp_path: Path, ending: str, mode: str) -> None:
    PillowImage.new(mode, (10, 8)).save(tmp_path / f"a.{ending}")
    check_eight_bits(tmp_path / f"a.{ending}")


def test_the_masks_of_such_images_are_not_read(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", 4, "uint8")
    PillowImage.new("L", (10, 8)).save(tmp_path / "mask.png")
    sample = {
        "img_path": str(path),
        "seg_map_path": str(tmp_path / "mask.png"),
        "ori_shape": (8, 10),
        "reduce_zero_label": False,
        "label_map": None,
        "seg_fields": [],
    }
    load = LoadCheckedAnnotations(num_labels=2)
    with pytest.raises(ValueError, match=r"a\.tif has not one or three bands of 8 bits"):
        load(dict(sample))
    loaded = load({**sample, "missing": np.zeros((8, 10), dtype=bool)})  # by LoadRaster
    assert not loaded["gt_seg_map"].any()
