from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.detection.coco import check_coco
from benchmarks.detection.scenes import DOTA_CATEGORIES, write_oriented_scenes, write_scenes
from cmid.data.dota import read_objects
from cmid.data.scenes import INSTANCE_CATEGORIES


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    write_scenes(tmp_path / "coco", train=6, val=1, size=64, seed=0)
    return tmp_path / "coco"


@pytest.fixture
def dota(tmp_path: Path) -> Path:
    write_oriented_scenes(tmp_path / "dota", train=6, val=1, size=64, seed=0)
    return tmp_path / "dota"


def check(coco: Path, **options: Any) -> Any:
    options.setdefault("classes", INSTANCE_CATEGORIES)
    return check_coco(coco / "train.json", coco / "train", **options)


def change(**fields: Any) -> Callable[[dict[str, Any]], None]:
    """Change the second annotation."""
    return lambda content: content["annotations"][1].update(fields)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (change(category_id=9), r"annotation 2 has category_id 9; categories are 1, 2, 3, 4, 5"),
        (change(image_id=77), r"annotation 2 is of image 77, which is not in the file"),
        (change(id=1), r"annotation 1 occurs twice"),
        (change(bbox=[1, 1, float("nan"), 4]), r"annotation 2 .* four finite numbers"),
        (change(bbox=[1, 1, 0, 4]), r"annotation 2 has an empty box \[1, 1, 0, 4\]"),
        (change(bbox=[1, 1, 4]), r"annotation 2 .* needed are x, y, width, height"),
        (change(segmentation=[[1, 2, 3]]), r"annotation 2 has a polygon of 3 numbers"),
        (change(segmentation={"counts": ""}), r"annotation 2 has no polygon"),
        (lambda content: content["annotations"][1].pop("area"), r"annotations\[1\] has no area"),
        (lambda content: content.pop("categories"), r"no list categories"),
        (lambda content: content["categories"].reverse(), r"another order: metainfo.classes="),
        (lambda content: content["categories"].pop(), r"no category 'vehicle'"),
    ],
)
def test_wrong_entries_are_named(
    coco: Path, spoil: Callable[[dict[str, Any]], None], message: str
) -> None:
    path = coco / "train.json"
    check(coco, polygons=True)
    content = json.loads(path.read_text())
    spoil(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message) as caught:
        check(coco, polygons=True)
    assert str(path) in str(caught.value)


def test_classes_have_to_be_named(coco: Path) -> None:
    with pytest.raises(ValueError, match=r"metainfo.classes names none of .*'building'"):
        check(coco, classes=())


def test_missing_files_are_named(coco: Path) -> None:
    (coco / "train" / "scene_00003.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"image 3 is missing: .*scene_00003.png"):
        check(coco)
    (coco / "train.json").write_text("{")
    with pytest.raises(ValueError, match=r"train.json is not JSON"):
        check(coco)
    (coco / "train.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no annotations .*train.json"):
        check(coco)


def test_what_is_left_out_is_counted(coco: Path) -> None:
    before = check(coco)
    content = json.loads((coco / "train.json").read_text())
    assert before.objects == len(content["annotations"])
    buildings = [a for a in content["annotations"] if a["category_id"] == 1]
    buildings[0]["bbox"] = [3, 3, 0.5, 4]
    buildings[1]["bbox"] = [70, 3, 5, 5]  # beside the image
    (coco / "train.json").write_text(json.dumps(content))
    counts = check(coco, classes=("building",))
    assert counts.too_small == 2
    assert counts.objects == len(buildings) - 2
    assert counts.objects + counts.other_categories + 2 == before.objects
    assert f"{counts.other_categories} of other categories, 2 below one pixel" in str(counts)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 1 9 1 9 9 1", "is not eight coordinates"),
        ("1 1 9 1 9 9 1 a ship 0", "is not eight coordinates"),
        ("1 1 9 1 9 9 1 9 ship easy", "is not eight coordinates"),
        ("1 1 9 1 9 9 1 9", "is not eight coordinates"),
        ("1 1 9 1 9 nan 1 9 ship 0", "not finite"),
        ("1 1 5 1 9 1 3 1 ship 0", "corners on one line"),
        ("4 4 4 4 4 4 4 4 ship 0", "corners on one line"),
        ("1 1 9 1 9 9 1 9 boat 0", "category 'boat'"),
        ("1 1 9 1 9 9 1 9 ship -1", "difficulty -1: 0 is the easiest"),
        (".1 .1 .9 .1 .9 .9 .1 .9 ship 0", "within one pixel: coordinates are pixels"),
    ],
)
def test_wrong_lines_are_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "P0001.txt"
    good = "imagesource:GoogleEarth\ngsd:0.2\n1 1 9 1 9 9 1 9 ship 1\n\n"
    path.write_text(good + "2 2 9 1 9 9 1 9 plane\n")
    objects = read_objects(path, classes=("ship", "plane"))
    assert objects.categories == ("ship", "plane")
    assert objects.difficulties.tolist() == [1, 0]
    path.write_text(f"{good}{line}\n")
    with pytest.raises(ValueError, match=rf"P0001.txt, line 5 .*{message}"):
        read_objects(path, classes=("ship", "plane"))


def test_nothing_to_train_on_is_an_error_and_to_test_on_a_line(coco: Path, dota: Path) -> None:
    pytest.importorskip("mmcv._ext", reason="extra openmmlab is not installed")
    from benchmarks.detection.datasets import CheckedCocoDataset
    from benchmarks.detection.oriented_datasets import CheckedDOTADataset

    path = coco / "train.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "annotations": []}))
    for labels in (dota / "train/labelTxt").iterdir():
        labels.write_text("1 1 9 1 9 9 1 9 ship 1\n")

    def horizontal(**options: Any) -> CheckedCocoDataset:
        options = {"metainfo": {"classes": INSTANCE_CATEGORIES}, **options}
        return CheckedCocoDataset(
            ann_file=str(path), data_prefix={"img": str(coco / "train")}, pipeline=[], **options
        )

    def oriented(**options: Any) -> CheckedDOTADataset:
        options = {"metainfo": {"classes": DOTA_CATEGORIES}, "diff_thr": 0, **options}
        folders = {"ann_file": "train/labelTxt", "data_prefix": {"img_path": "train/images"}}
        return CheckedDOTADataset(data_root=str(dota), pipeline=[], **folders, **options)

    with pytest.raises(ValueError, match=r"nothing to train on: .*train\.json: 6 images \(6 wi"):
        horizontal()
    with pytest.raises(ValueError, match=r"nothing to train on: .*6 objects, 6 of them ignored"):
        oriented()
    assert len(horizontal(test_mode=True)) == len(oriented(test_mode=True)) == 6
    assert len(oriented(diff_thr=1)) == 6


def test_datasets_of_openmmlab_check_their_files(coco: Path, dota: Path) -> None:
    pytest.importorskip("mmcv._ext", reason="extra openmmlab is not installed")
    from benchmarks.detection.datasets import CheckedCocoDataset
    from benchmarks.detection.oriented_datasets import CheckedDOTADataset

    def horizontal() -> CheckedCocoDataset:
        return CheckedCocoDataset(
            data_root=str(coco),
            ann_file="train.json",
            data_prefix={"img": "train"},
            metainfo={"classes": INSTANCE_CATEGORIES},
            pipeline=[],
        )

    def oriented(**options: Any) -> CheckedDOTADataset:
        options = {"ann_file": "train/labelTxt", **options}
        return CheckedDOTADataset(
            data_root=str(dota),
            data_prefix={"img_path": "train/images"},
            metainfo={"classes": DOTA_CATEGORIES},
            pipeline=[],
            **options,
        )

    content = json.loads((coco / "train.json").read_text())
    data = horizontal()
    assert len(data) == len(oriented()) == 6
    first = [a for a in content["annotations"] if a["image_id"] == 1]
    loaded = data.get_data_info(1)["instances"]
    assert [k["bbox_label"] + 1 for k in loaded] == [a["category_id"] for a in first]
    unlabelled = oriented(ann_file="").get_data_info(0)
    assert unlabelled["instances"] == []
    assert unlabelled["img_id"] == "scene_00000"

    path = dota / "train/labelTxt/scene_00001.txt"
    path.write_text("1 1 9 1 9 9 1 9 ship 1\n")
    assert oriented(diff_thr=0).get_data_info(1)["instances"][0]["ignore_flag"] == 1
    assert oriented().get_data_info(1)["instances"][0]["ignore_flag"] == 0
    path.write_text("1 1 9 1 9 9 1 9 boat 1\n")
    with pytest.raises(ValueError, match=r"scene_00001.txt, line 1 has the category 'boat'"):
        oriented()
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"scene_00001.png has no .*scene_00001.txt"):
        oriented()
    (dota / "train/labelTxt/other.txt").touch()
    with pytest.raises(FileNotFoundError, match=r"other.txt belongs to no image"):
        oriented()
    with pytest.raises(FileNotFoundError, match="no folder of labels"):
        oriented(ann_file="nothing")
    (coco / "train" / "scene_00003.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"scene_00003.png"):
        horizontal()
