from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from benchmarks.change_detection.files import find_pairs
from benchmarks.change_detection.scenes import write_scenes
from cmid.data.scenes import generate_scene


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_scenes_are_those_of_the_generator(tmp_path: Path) -> None:
    write_scenes(tmp_path, train=2, val=1, size=32, seed=7)
    train, val = (find_pairs(tmp_path / part) for part in ("train", "val"))
    assert [pair.name for pair in (*train, *val)] == [f"scene_{i:05}" for i in range(3)]
    scene = generate_scene(2, seed=7, size=32, second_date=True)
    for path, date in zip(val[0][:2], (scene.image, scene.image_second), strict=True):
        np.testing.assert_array_equal(np.array(PillowImage.open(path)), date.permute(1, 2, 0))
    label = np.array(PillowImage.open(val[0].label))
    np.testing.assert_array_equal(label, np.where(scene.change_mask, 255, 0))
    before = contents(tmp_path)
    write_scenes(tmp_path, train=2, val=1, size=32, seed=7)
    assert contents(tmp_path) == before


def test_other_files_are_not_mixed_with_scenes(tmp_path: Path) -> None:
    write_scenes(tmp_path, train=2, val=1, size=32, seed=0)
    with pytest.raises(FileExistsError, match=r"scene_00001\.png is none of these scenes"):
        write_scenes(tmp_path, train=1, val=1, size=32, seed=0)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_more_bands_are_geotiffs(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    write_scenes(tmp_path, train=1, val=0, size=32, seed=0, bands=5)
    (pair,) = find_pairs(tmp_path / "train")
    scene = generate_scene(0, size=32, num_bands=5, second_date=True)
    with rasterio.open(pair.second) as file:
        np.testing.assert_array_equal(file.read(), scene.image_second)
