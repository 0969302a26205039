"""Annotations in COCO's form against the images they are for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PillowImage

from benchmarks.detection.coco import check_coco
from benchmarks.detection.dior import BOXES, convert_dior
from cmid.data.image_size import stored_size
from cmid.data.source import UnreadableImageError

WIDTH, HEIGHT = 60, 50


def write(folder: Path, *, name: str = "a.png", image: dict[str, Any] = {}, **box: Any) -> Path:  # noqa: B006
    content = {
        "images": [{"id": 1, "file_name": name, "width": WIDTH, "height": HEIGHT, **image}],
        "categories": [{"id": 1, "name": "ship"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 9, 9], "area": 81, **box}
        ],
    }
    path = folder / "c.json"
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    PillowImage.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "a.png")
    return tmp_path


def check(path: Path, **options: Any) -> Any:
    return check_coco(path, path.parent, classes=("ship",), **options)


@pytest.mark.parametrize(
    "size", [(600, 500), (61, 50), (50, 60), (30, 25)], ids=["larger", "one", "turned", "smaller"]
)
def test_a_size_that_is_not_the_images_is_named(folder: Path, size: tuple[int, int]) -> None:
    path = write(folder, image={"width": size[0], "height": size[1]})
    with pytest.raises(ValueError, match=r"c\.json: image 1: .*a\.png has width 60 and height 50"):
        check(path)
    with pytest.raises(ValueError, match=f"are for {size[0]} and {size[1]}"):
        check(path)


def test_files_that_are_evaluated_say_which_objects_are_crowds(folder: Path) -> None:
    path = write(folder)
    assert check(path).objects == 1
    with pytest.raises(ValueError, match=r"c\.json: annotation 1 has no iscrowd .*: add 0 to each"):
        check(path, evaluated=True)
    for crowd in (0, 1):
        counts = check(write(folder, iscrowd=crowd), evaluated=True)
        assert (counts.objects, counts.crowds) == (1 - crowd, crowd)


@pytest.mark.parametrize("ending", ["jpg", "png", "tif"])
def test_a_picture_that_exif_turns_has_the_size_it_is_read_with(folder: Path, ending: str) -> None:
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    PillowImage.new("RGB", (WIDTH, HEIGHT)).save(folder / f"t.{ending}", exif=exif)
    assert stored_size(folder / f"t.{ending}") == (WIDTH, HEIGHT)
    path = write(folder, name=f"t.{ending}", image={"width": HEIGHT, "height": WIDTH})
    assert check(path).objects == 1
    with pytest.raises(ValueError, match=r"width 50 and height 60: its EXIF tag turns it"):
        check(write(folder, name=f"t.{ending}"))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"width": None}, "has width None and height 50, not pixels"),
        ({"width": "60"}, "has width '60'"),
        ({"height": 0}, "and height 0"),
        ({"height": -50}, "and height -50"),
        ({"file_name": 7}, "has the file_name 7"),
        ({"id": [1]}, r"images\[0\] has the id \[1\]"),
    ],
)
def test_images_without_a_size_or_name_are_named(
    folder: Path, image: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check(write(folder, image=image))


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ({"bbox": [5, 5, -9, 9]}, "an empty box"),
        ({"bbox": [5, 5, 9, 0]}, "an empty box"),
        ({"bbox": [5, True, 9, 9]}, "four finite numbers"),
        ({"area": None}, "has the area None"),
        ({"category_id": 2}, "has category_id 2"),
        ({"image_id": "1"}, "of image 1, which is not in the file"),
        ({"segmentation": {"size": [500, 600], "counts": "x"}}, r"run-length code .*\[500, 600\]"),
    ],
)
def test_objects_that_make_no_sense_are_named(
    folder: Path, box: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        check(write(folder, **box))
    assert str(folder / "c.json") in str(caught.value)


def test_outlines_of_oriented_boxes_are_checked(folder: Path) -> None:
    code = {"size": [HEIGHT, WIDTH], "counts": "x"}
    assert check(write(folder, segmentation=code)).objects == 1
    with pytest.raises(ValueError, match="no polygon in segmentation but a run-length code"):
        check(write(folder, segmentation=code), polygons=True)
    beside = [[400, 300, 500, 300, 500, 400, 400, 400]]
    with pytest.raises(ValueError, match="a polygon beside its image of width 60 and height 50"):
        check(write(folder, segmentation=beside), polygons=True)
    inside = [[5, 5, 14, 5, 14, 14, 5, 14]]
    assert check(write(folder, segmentation=inside), polygons=True).objects == 1


def test_boxes_beside_the_image_and_over_its_border_are_counted(folder: Path) -> None:
    assert check(write(folder, bbox=[400, 300, 100, 100])).too_small == 1
    counts = check(write(folder, bbox=[40, 5, 40, 9]))
    assert (counts.objects, counts.overhanging) == (1, 1)
    assert "1 reach over the border" in str(counts)
    assert check(write(folder, bbox=[51, 41, 9.6, 9.6])).overhanging == 0


def test_boxes_of_two_corners_are_refused(folder: Path) -> None:
    path = write(folder, bbox=[30, 20, 55, 45])
    with pytest.raises(ValueError, match=r"c\.json: 1 of 1 boxes reach over .* needed are x, y, w"):
        check(path)
    content = json.loads(path.read_text())
    (first,) = content["annotations"]
    corners = [first, {**first, "id": 2, "bbox": [1, 2, 9, 9]}]
    path.write_text(json.dumps({**content, "annotations": corners}))
    with pytest.raises(ValueError, match=r"1 of 2 boxes reach over .* all of them fit as x1, y1"):
        check(path)
    corners[1]["bbox"] = [10, 2, 9, 9]  # a width below x: no corner
    path.write_text(json.dumps({**content, "annotations": corners}))
    assert check(path).overhanging == 1


def test_crowds_are_counted_and_no_objects(folder: Path) -> None:
    counts = check(write(folder, iscrowd=1))
    assert (counts.objects, counts.crowds, counts.empty_images) == (0, 1, 1)
    assert ", 1 crowds" in str(counts)


def test_ids_and_names_of_categories_occur_once(folder: Path) -> None:
    path = write(folder)
    content = json.loads(path.read_text())
    for entry, message in (
        ({"id": 1, "name": "tank"}, "category 1 occurs twice"),
        ({"id": 2, "name": "ship"}, "two categories 'ship'"),
    ):
        path.write_text(json.dumps({**content, "categories": [*content["categories"], entry]}))
        with pytest.raises(ValueError, match=message):
            check(path)
    path.write_text(json.dumps({**content, "images": content["images"] * 2}))
    with pytest.raises(ValueError, match="image 1 occurs twice"):
        check(path)
    path.write_text(json.dumps({**content, "annotations": [7]}))
    with pytest.raises(ValueError, match=r"annotations\[0\] is 7, no object"):
        check(path)


def test_a_file_that_is_no_image_is_named(folder: Path) -> None:
    (folder / "a.png").write_bytes(b"nothing")
    with pytest.raises(UnreadableImageError, match=r"a\.png: not a readable image"):
        check(write(folder))


def test_dior_is_compared_with_its_images(tmp_path: Path) -> None:
    for folder in ("JPEGImages-trainval", "ImageSets/Main", f"Annotations/{BOXES['horizontal']}"):
        (tmp_path / folder).mkdir(parents=True)
    PillowImage.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "JPEGImages-trainval/1.jpg")
    for part, text in (("train", "1\n"), ("val", ""), ("test", "")):
        (tmp_path / f"ImageSets/Main/{part}.txt").write_text(text)
    (tmp_path / "Annotations" / BOXES["horizontal"] / "1.xml").write_text(
        "<annotation><size><width>800</width><height>800</height></size></annotation>"
    )
    with pytest.raises(ValueError, match=r"1\.xml: .*1\.jpg has width 60 .* are for 800 and 800"):
        convert_dior(tmp_path, tmp_path / "coco")
