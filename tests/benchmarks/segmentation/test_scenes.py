from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.segmentation.scenes import write_scenes
from cmid.data.raster_reading import read_raster
from cmid.data.scenes import SEMANTIC_CLASSES, generate_scene
from cmid.data.segmentation import SegmentationFolder


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_scenes_lie_as_mmsegmentation_lays_them(tmp_path: Path) -> None:
    write_scenes(tmp_path / "a", train=3, val=2, size=32, seed=5)
    parts = {
        part: SegmentationFolder(tmp_path / "a", part=part, num_classes=len(SEMANTIC_CLASSES))
        for part in ("train", "val")
    }
    assert {part: len(scenes) for part, scenes in parts.items()} == {"train": 3, "val": 2}
    pixels, mask = parts["val"][0]
    scene = generate_scene(3, seed=5, size=32)
    assert np.array_equal(pixels, scene.image)
    assert np.array_equal(mask, scene.semantic_mask)
    write_scenes(tmp_path / "b", train=3, val=2, size=32, seed=5)
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_infrared_bands_are_geotiff(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    write_scenes(tmp_path, train=1, val=1, size=32, seed=0, bands=5)
    values, missing = read_raster(tmp_path / "img_dir/val/scene_00001.tif")
    assert np.array_equal(values, generate_scene(1, size=32, num_bands=5).image)
    assert not missing.any()


def test_other_files_are_not_mixed_with(tmp_path: Path) -> None:
    write_scenes(tmp_path, train=2, val=1, size=32, seed=0)
    write_scenes(tmp_path, train=2, val=1, size=16, seed=1)
    with Image.open(tmp_path / "img_dir/train/scene_00001.png") as picture:
        assert picture.size == (16, 16)
    with pytest.raises(FileExistsError, match=r"scene_00001\.png is none of these scenes"):
        write_scenes(tmp_path, train=1, val=1, size=32, seed=0)
