from __future__ import annotations

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.detection.tiling import TilingConfig, objects_inside, split_folder
from cmid.boxes import box_corners, oriented_box
from cmid.data.dota import OrientedObjects, read_objects, write_objects

SIZE = 64
# Between x = 48 and 64, y = 48 and 64 lies the overlap of all four tiles of a 112-pixel image.
BOXES = [
    (20.0, 20.0, 16.0, 6.0, 0.4),
    (56.0, 56.0, 12.0, 8.0, -0.7),
    (90.0, 30.0, 20.0, 10.0, 1.2),
    (30.0, 60.0, 14.0, 14.0, 0.1),
    (100.0, 100.0, 18.0, 5.0, 0.0),
]
CATEGORIES = ("ship", "plane", "ship", "plane", "ship")


def example() -> OrientedObjects:
    corners = np.array([box_corners(box) for box in BOXES])
    return OrientedObjects(corners, CATEGORIES, np.array([0, 0, 1, 0, 0]))


@pytest.fixture
def dota(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    (tmp_path / "labelTxt").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "images" / "P0001.png")
    Image.fromarray(pixels[:40, :100]).save(tmp_path / "images" / "P0002.png")
    write_objects(tmp_path / "labelTxt" / "P0001.txt", example())
    header = "imagesource:GoogleEarth\ngsd:0.25\n"
    path = tmp_path / "labelTxt" / "P0001.txt"
    path.write_text(header + path.read_text())
    (tmp_path / "labelTxt" / "P0002.txt").write_text(header)
    return tmp_path


def test_windows_cover_an_image_and_end_at_its_border() -> None:
    tiling = TilingConfig(size=1024, gap=200)
    assert tiling.windows(1024, 600) == [(0, 0, 1024)]
    assert [left for left, _, _ in tiling.windows(2000, 1000)] == [0, 824, 976]
    assert [left for left, _, _ in tiling.windows(1848, 1)] == [0, 824]  # fits without a rest
    assert {side for _, _, side in TilingConfig(scales=(0.5, 1.0)).windows(9, 9)} == {1024, 2048}
    covered = np.zeros((300, 470), dtype=int)
    for left, top, side in TilingConfig(size=128, gap=40).windows(470, 300):
        assert left + side <= 470
        assert top + side <= 300
        covered[top : top + side, left : left + side] += 1
    assert covered.min() == 1


def test_objects_are_kept_by_the_share_that_lies_inside() -> None:
    square = np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 10.0], [0.0, 10.0]])
    shifts = np.array([[0.0, 0.0], [-2.0, 0.0], [-4.0, 0.0], [57.0, 0.0], [70.0, 0.0]])
    objects = OrientedObjects(
        square + shifts[:, None], ("ship",) * 5, np.array([1, 0, 0, 0, 0], dtype=np.int64)
    )
    inside, indices = objects_inside(objects, (0, 0, SIZE), min_inside=0.7)
    assert indices.tolist() == [0, 1, 3]  # shares 1, 0.8, 0.6, 0.7, 0
    assert inside.difficulties.tolist() == [1, 2, 2]
    np.testing.assert_allclose(inside.corners[1], square - np.array([2, 0]))  # not clipped
    inside, indices = objects_inside(objects, (20, 0, SIZE), min_inside=0.7)
    assert indices.tolist() == [3, 4]
    np.testing.assert_allclose(inside.corners[0], square + np.array([37, 0]))


def test_tiles_hold_the_pixels_and_the_objects_of_their_place(dota: Path, tmp_path: Path) -> None:
    out = tmp_path / "tiles"
    counts = split_folder(
        dota / "images",
        dota / "labelTxt",
        out,
        tiling=TilingConfig(SIZE, 16),
        classes=["ship", "plane"],
    )
    names = sorted(path.stem for path in (out / "images").iterdir())
    assert names == sorted(path.stem for path in (out / "labelTxt").iterdir())
    expected = [f"P0001__64__{x}___{y}" for x in (0, 48) for y in (0, 48)]
    assert names == [*expected, "P0002__64__0___0", "P0002__64__36___0"]
    assert (counts.images, counts.tiles, counts.empty_tiles, counts.lost) == (2, 6, 2, 0)
    assert counts.objects == {"ship": 3, "plane": 2}
    assert "2 images, 6 tiles (2 without objects)" in str(counts)
    whole = np.array(Image.open(dota / "images" / "P0001.png"))
    tile = np.array(Image.open(out / "images" / "P0001__64__48___48.png"))
    np.testing.assert_array_equal(tile, whole[48:, 48:])
    padded = np.array(Image.open(out / "images" / "P0002__64__36___0.png"))
    np.testing.assert_array_equal(padded[:40], whole[:40, 36:100])
    assert (padded[40:] == (124, 116, 104)).all()
    found = read_objects(out / "labelTxt" / "P0001__64__48___48.txt")
    assert found.categories == ("plane", "ship")
    np.testing.assert_allclose(found.corners + 48, example().corners[[1, 4]], atol=0.01)


def test_what_no_tile_holds_is_counted(dota: Path, tmp_path: Path) -> None:
    long = box_corners((56.0, 56.0, 100.0, 4.0, 0.0))[None]
    objects = OrientedObjects(long, ("ship",), np.zeros(1, dtype=np.int64))
    write_objects(dota / "labelTxt" / "P0001.txt", objects)
    counts = split_folder(
        dota / "images", dota / "labelTxt", tmp_path / "tiles", tiling=TilingConfig(SIZE, 16)
    )
    assert (counts.lost, counts.written.total(), counts.empty_tiles) == (1, 0, 6)


def test_text_files_without_an_image_are_counted(dota: Path, tmp_path: Path) -> None:
    (dota / "labelTxt" / "P0009.txt").touch()
    counts = split_folder(
        dota / "images", dota / "labelTxt", tmp_path / "tiles", tiling=TilingConfig(SIZE, 16)
    )
    assert counts.unused == 1
    assert "1 text files belong to no image" in str(counts)


def test_split_then_merge_gives_the_boxes_back(dota: Path, tmp_path: Path) -> None:
    pytest.importorskip("mmcv._ext", reason="extra openmmlab is not installed")
    from benchmarks.detection.merging import Detections, merge_tiles, write_submission

    out = tmp_path / "tiles"
    tiling = TilingConfig(SIZE, 24, scales=(0.5, 1.0))  # 128-pixel tiles hold all
    split_folder(dota / "images", dota / "labelTxt", out, tiling=tiling)
    classes = ("plane", "ship")
    tiles = {}
    for path in sorted((out / "labelTxt").iterdir()):
        objects = read_objects(path)
        boxes = np.array([oriented_box(c) for c in objects.corners], dtype=np.float32)
        whole = objects.difficulties < 2
        tiles[path.stem] = Detections(
            boxes.reshape(-1, 5),
            np.where(whole, 0.9, 0.4).astype(np.float32),
            np.array([classes.index(name) for name in objects.categories], dtype=np.int64),
        )
    assert sum(len(found.scores) for found in tiles.values()) > len(BOXES)
    merged = merge_tiles(tiles)
    assert list(merged) == ["P0001", "P0002"]
    assert len(merged["P0002"].scores) == 0
    found = merged["P0001"]
    assert sorted(classes[k] for k in found.labels) == sorted(CATEGORIES)
    for box, category in zip(BOXES, CATEGORIES, strict=True):
        distance = np.abs(found.boxes[:, :2] - np.array(box[:2])).max(axis=1)
        nearest = int(distance.argmin())
        assert classes[found.labels[nearest]] == category
        assert found.scores[nearest] == pytest.approx(0.9)
        corners = box_corners(tuple(found.boxes[nearest].tolist()))
        gaps = np.abs(corners[:, None] - box_corners(box)[None]).max(axis=2).min(axis=1)
        assert gaps.max() < 0.05
    archive = write_submission(tmp_path / "task1", merged, classes)
    assert archive.is_file()
    lines = (tmp_path / "task1" / "Task1_ship.txt").read_text().splitlines()
    assert len(lines) == 3
    image, score, *numbers = lines[0].split()
    assert (image, score, len(numbers)) == ("P0001", "0.900000", 8)
    with pytest.raises(ValueError, match="P0001 is not named as a tile"):
        merge_tiles({"P0001": found})
    with pytest.raises(FileExistsError, match="task1 is there already"):
        write_submission(tmp_path / "task1", merged, classes)


def test_bad_input_is_named(dota: Path, tmp_path: Path) -> None:
    images, labels, out = dota / "images", dota / "labelTxt", tmp_path / "tiles"
    with pytest.raises(ValueError, match=r"P0001.txt, line 3 has the category 'ship'"):
        split_folder(images, labels, out, tiling=TilingConfig(SIZE, 16), classes=["plane"])
    (images / "P0001.png").write_bytes(b"")
    with pytest.raises(RuntimeError, match=r"P0001.png: file is empty"):
        split_folder(images, labels, out, tiling=TilingConfig(SIZE, 16))
    (labels / "P0002.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"no labels .*P0002.txt"):
        split_folder(images, labels, out, tiling=TilingConfig(SIZE, 16))
    with pytest.raises(FileNotFoundError, match="no folder"):
        split_folder(tmp_path / "nothing", None, out, tiling=TilingConfig())
    assert not out.exists()
    assert not list(tmp_path.glob(".*"))
    with pytest.raises(ValueError, match="gap must be"):
        TilingConfig(64, 64)


def test_the_command_prints_counts_or_one_line(
    dota: Path, tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main = runpy.run_path(str(root / "tools/prepare_detection.py"))["main"]
    main(["dota", str(dota), str(tmp_path / "tiles"), "--size", "64", "--gap", "16"])
    printed = capsys.readouterr().out
    assert printed.startswith("2 images, 6 tiles (2 without objects)\n5 objects, ")
    assert re.search(r"ship +3 +\d+$", printed, re.MULTILINE)
    with pytest.raises(SystemExit, match=r"error: .*tiles is there already"):
        main(["dota", str(dota), str(tmp_path / "tiles")])
    with pytest.raises(SystemExit, match=r"error: .*Annotations has none"):
        main(["dior", str(tmp_path)])


def test_the_real_images(shared_data: Path, tmp_path: Path) -> None:
    counts = split_folder(
        shared_data / "dota/images",
        shared_data / "dota/labelTxt",
        tmp_path / "t",
        tiling=TilingConfig(),
    )
    assert (counts.images, counts.tiles, counts.objects.total(), counts.lost) == (2, 5, 600, 0)
