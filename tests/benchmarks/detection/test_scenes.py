from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.detection.coco import check_coco
from benchmarks.detection.scenes import DOTA_CATEGORIES, write_oriented_scenes, write_scenes
from cmid.boxes import oriented_box
from cmid.data.dota import read_objects
from cmid.data.raster_reading import read_raster
from cmid.data.scenes import INSTANCE_CATEGORIES, generate_scene


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(folder / "coco", train=12, val=3, size=64, seed=1)
    write_oriented_scenes(folder / "dota", train=12, val=3, size=64, seed=1)
    return folder


def test_scenes_are_of_cocos_form(folder: Path) -> None:
    for part, number in (("train", 12), ("val", 3)):
        path = folder / "coco" / f"{part}.json"
        counts = check_coco(
            path, folder / "coco" / part, classes=INSTANCE_CATEGORIES, polygons=True
        )
        assert counts.images == number
        assert counts.objects > number
        assert counts.too_small == counts.other_categories == 0
    content = json.loads((folder / "coco" / "val.json").read_text())
    first = content["images"][0]
    pixels = np.array(Image.open(folder / "coco" / "val" / first["file_name"]))
    scene = generate_scene(first["id"], seed=1, size=64)
    np.testing.assert_array_equal(pixels, scene.image.permute(1, 2, 0).numpy())


def test_boxes_enclose_their_polygons(folder: Path) -> None:
    for annotation in json.loads((folder / "coco" / "train.json").read_text())["annotations"]:
        x, y, width, height = annotation["bbox"]
        points = np.array(annotation["segmentation"][0]).reshape(-1, 2)
        np.testing.assert_allclose(points.min(axis=0), (x, y), atol=0.02)
        np.testing.assert_allclose(points.max(axis=0), (x + width, y + height), atol=0.02)
        assert points.min() >= 0
        assert points.max() <= 64


def test_oriented_scenes_hold_the_same_objects(folder: Path) -> None:
    content = json.loads((folder / "coco" / "train.json").read_text())
    for image in content["images"]:
        objects = read_objects(
            folder / "dota/train/labelTxt" / f"{Path(image['file_name']).stem}.txt",
            classes=DOTA_CATEGORIES,
        )
        annotations = [a for a in content["annotations"] if a["image_id"] == image["id"]]
        assert len(objects) == len(annotations)
        for corners, category, annotation in zip(
            objects.corners, objects.categories, annotations, strict=True
        ):
            assert DOTA_CATEGORIES.index(category) + 1 == annotation["category_id"]
            points = np.array(annotation["segmentation"][0]).reshape(-1, 2)
            x, y, width, height, angle = oriented_box(corners)
            assert width * height == pytest.approx(np.prod(oriented_box(points)[2:4]), rel=0.05)
            along = np.array([np.cos(angle), np.sin(angle)])
            offsets = np.abs((points - (x, y)) @ np.array([along, [-along[1], along[0]]]).T)
            assert (offsets <= np.array([width, height]) / 2 + 0.05).all()


def test_more_bands_are_geotiffs_of_the_same_objects(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("rasterio", reason="extra geo is not installed")
    write_scenes(tmp_path / "coco", train=12, val=3, size=64, seed=1, bands=5)
    write_oriented_scenes(tmp_path / "dota", train=12, val=3, size=64, seed=1, bands=5)
    same = [json.loads((where / "coco/train.json").read_text()) for where in (folder, tmp_path)]
    assert same[0]["annotations"] == same[1]["annotations"]
    for path in (
        tmp_path / "coco/val/scene_00012.tif",
        tmp_path / "dota/val/images/scene_00012.tif",
    ):
        scene = generate_scene(12, seed=1, size=64, num_bands=5)
        assert torch.equal(torch.from_numpy(read_raster(path)[0]), scene.image)


def test_a_folder_appears_whole_or_not_at_all(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileExistsError, match="coco is there already"):
        write_scenes(folder / "coco", train=1, val=1, size=64, seed=0)
    with pytest.raises(ValueError, match="size"):
        write_oriented_scenes(tmp_path / "out", train=1, val=1, size=8, seed=0)
    assert not list(tmp_path.iterdir())
