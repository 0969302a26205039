"""DOTA's text files as they are found in the wild, and scenes above Pillow's limit."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from benchmarks.detection.scene_crops import open_scene
from benchmarks.detection.tiling import TilingConfig, split_folder
from cmid.data.decoding import read_image
from cmid.data.dota import DOTA_CLASSES, read_objects
from cmid.data.image_size import stored_size
from cmid.data.masks import read_mask

CORNERS = "1 1 9 1 9 9 1 9"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "imagesource:x\ngsd:1\n",
        "ImageSource:x\nGSD:1\n",
        "IMAGESOURCE: Google Earth\r\nGsd: null\r\n",
        "acquisition dates:2018-01-01\nimagesource:GF-2\ngsd:1\n",
        "Acquisition Dates: 2018\n\n\nimagesource : GF-2\n",
        "imagesource\uff1aGF-2\ngsd\uff1a0.5\n",
        "imagesource GoogleEarth\ngsd 0.2\n",
        "\n  \n imagesource:x\n\tgsd:1\n",
    ],
)
@pytest.mark.parametrize("code", ["utf-8", "utf-8-sig"])
def test_headers_of_all_kinds_are_skipped(tmp_path: Path, header: str, code: str) -> None:
    path = tmp_path / "P1.txt"
    path.write_bytes(f"{header}{CORNERS} plane 0\n\n{CORNERS} ship 1".encode(code))
    objects = read_objects(path, classes=DOTA_CLASSES)
    assert objects.categories == ("plane", "ship")
    assert objects.difficulties.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("line", "difficulty"),
    [
        (f"{CORNERS} small-vehicle 1", 1),
        (f"{CORNERS} small-vehicle", 0),
        (f"{CORNERS} small-vehicle 1   \r", 1),
        (f"{CORNERS.replace(' ', chr(9))}\tsmall-vehicle\t1", 1),
        (f"{CORNERS.replace(' ', ',')},small-vehicle,1", 1),
        (f"{CORNERS} Small-Vehicle 1", 1),
        (f"{CORNERS} small vehicle 1", 1),
        (f"{CORNERS} Small Vehicle", 0),
        (f"{CORNERS} SMALL_VEHICLE 2", 2),
        (f"{CORNERS} small-vehicle 1.0", 1),
    ],
)
def test_lines_of_all_kinds_are_objects(tmp_path: Path, line: str, difficulty: int) -> None:
    (tmp_path / "P1.txt").write_text(f"gsd:1\n{line}\n", newline="")
    objects = read_objects(tmp_path / "P1.txt", classes=DOTA_CLASSES)
    assert objects.categories == ("small-vehicle",)
    assert objects.difficulties.tolist() == [difficulty]
    np.testing.assert_array_equal(objects.corners[0], [[1, 1], [9, 1], [9, 9], [1, 9]])


def test_categories_of_several_words_need_a_difficulty_where_any_is_allowed(
    tmp_path: Path,
) -> None:
    path = tmp_path / "P1.txt"
    path.write_text(f"{CORNERS} small vehicle 0\n")
    assert read_objects(path).categories == ("small-vehicle",)
    path.write_text(f"{CORNERS} small vehicle\n")
    with pytest.raises(ValueError, match=r"P1\.txt, line 1 is not eight coordinates"):
        read_objects(path)
    path.write_text(f"{CORNERS} big boat 0\n")
    with pytest.raises(ValueError, match=r"P1\.txt, line 1 "):
        read_objects(path, classes=DOTA_CLASSES)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A scene of 180 megapixels, just above what Pillow opens by itself."""
    pixels = np.zeros((13_400, 13_400), np.uint8)
    pixels[13_399, 13_398] = 7
    (tmp_path / "images").mkdir()
    PillowImage.fromarray(pixels).save(tmp_path / "images/P1.png", compress_level=1)
    return tmp_path


@pytest.mark.slow
def test_scenes_above_pillows_limit_are_cut_and_measured(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = large / "images/P1.png"
    limit = 2**28 // 3  # what Pillow begins with
    monkeypatch.setattr(PillowImage, "MAX_IMAGE_PIXELS", limit)
    assert stored_size(path) == (13_400, 13_400)
    monkeypatch.setattr(PillowImage, "MAX_IMAGE_PIXELS", limit)
    tracemalloc.start()  # knows the arrays of numpy, not Pillow's one copy
    scene = open_scene(path)
    tile = scene.crop(13_390, 13_390, 13_400, 13_400)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert tile.shape == (10, 10, 3)
    assert tile[9, 8].tolist() == [7, 7, 7]
    assert peak < 20e6
    monkeypatch.setattr(PillowImage, "MAX_IMAGE_PIXELS", limit)
    assert read_mask(path)[13_399, 13_398] == 7


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "LA"])
@pytest.mark.parametrize("ending", ["png", "tif", "jpg", "bmp"])
def test_crops_are_those_of_the_decoded_image(tmp_path: Path, mode: str, ending: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    picture = PillowImage.fromarray(pixels).convert(mode)
    if (ending in ("jpg", "bmp") and mode in ("RGBA", "LA", "P")) or (mode, ending) == ("1", "jpg"):
        picture = picture.convert("RGB")
    path = tmp_path / f"a.{ending}"
    picture.save(path)
    scene, whole = open_scene(path), read_image(path)
    assert (scene.height, scene.width) == whole.full_size
    expected = whole.pixels.permute(1, 2, 0).numpy()[4:20, 7:39]
    np.testing.assert_array_equal(scene.crop(7, 4, 39, 20), expected)


def test_objects_beside_their_image_are_counted(tmp_path: Path) -> None:
    for name in ("images", "labelTxt"):
        (tmp_path / name).mkdir()
    PillowImage.new("RGB", (32, 32)).save(tmp_path / "images/P1.png")
    lines = f"{CORNERS} plane 0\n100 100 109 100 109 109 100 109 plane 0\n"
    (tmp_path / "labelTxt/P1.txt").write_text(lines)
    counts = split_folder(
        tmp_path / "images",
        tmp_path / "labelTxt",
        tmp_path / "out",
        tiling=TilingConfig(size=32, gap=0),
        workers=1,
    )
    assert (counts.lost, counts.outside) == (1, 1)
    assert "1 of these lie beside their image" in str(counts)


def test_training_leaves_out_objects_beside_their_image(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("mmcv._ext", reason="extra openmmlab is not installed")
    from benchmarks.detection.oriented_datasets import CheckedDOTADataset

    for name in ("images", "labelTxt"):
        (tmp_path / name).mkdir()
    PillowImage.new("RGB", (32, 32)).save(tmp_path / "images/P1.png")
    lines = f"{CORNERS} plane 0\n100 100 109 100 109 109 100 109 plane 0\n"
    (tmp_path / "labelTxt/P1.txt").write_text(lines)
    data = CheckedDOTADataset(
        data_root=str(tmp_path),
        ann_file="labelTxt",
        data_prefix={"img_path": "images"},
        pipeline=[],
    )
    assert len(data.get_data_info(0)["instances"]) == 1
