"""Texts about annotated objects are true, whatever the objects; conversion keeps them."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from cmid.data.scenes.phrases import place, plural
from cmid.vision_language.data import BoxLimitConfig, CocoRegions, RegionTexts
from cmid.vision_language.data.conversion import existing_images, write_region_texts
from cmid.vision_language.data.objects import ImageObjects, describe_image, describe_objects
from cmid.vision_language.data.problems import Problems

CATEGORIES = ("ship", "storage tank", "overpass", "ferry", "bus")
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
HEIGHT, WIDTH = 60, 90


@st.composite
def image_objects(draw: Any, min_size: int = 1) -> ImageObjects:
    names, boxes = [], []
    for _ in range(draw(st.integers(min_size, 14))):
        names.append(draw(st.sampled_from(CATEGORIES)))
        x, y = draw(st.integers(0, WIDTH - 10)), draw(st.integers(0, HEIGHT - 10))
        boxes.append((float(x), float(y), x + draw(st.floats(1, 10)), y + draw(st.floats(1, 10))))
    path = f"{draw(st.integers(0, 1000))}.png"
    return ImageObjects(path, (HEIGHT, WIDTH), tuple(names), tuple(boxes))


def spoken_counts(text: str) -> dict[str, int]:
    """Numbers before names, read back by a rule of the test's own."""
    counts = {}
    for name in CATEGORIES:
        found = re.findall(rf"(\w+) (?:{name}|{plural(name)})\b", text)
        for word in found:
            counts[name] = NUMBERS.index(word) if word in NUMBERS else int(word)
    return counts


def places(objects: ImageObjects, name: str) -> list[tuple[float, str]]:
    """Area and place of the objects of a category, largest first."""
    found = [
        ((x1 - x0) * (y1 - y0), place((x0 + x1) / 2 / WIDTH, (y0 + y1) / 2 / HEIGHT))
        for category, (x0, y0, x1, y1) in zip(objects.categories, objects.boxes, strict=True)
        if category == name
    ]
    return sorted(found, reverse=True)


@settings(max_examples=150, deadline=None)
@given(image_objects(), st.integers(0, 5))
def test_captions_are_true(objects: ImageObjects, seed: int) -> None:
    counted, *more = captions = describe_image(objects, seed=seed)
    assert spoken_counts(counted) == Counter(objects.categories)
    assert captions == describe_image(objects, seed=seed)
    for sentence in more[0].removeprefix(counted).split(". ")[1:] if more else []:
        named = [n for n in CATEGORIES if re.search(rf"\b({n}|{plural(n)})\b", sentence)]
        where = re.search(r"in the ((upper |lower )?(left|right|middle)( middle)?)", sentence)
        assert len(named) == 1
        assert where
        members = places(objects, named[0])
        if "only" in sentence:
            assert [p for _, p in members] == [where[1]]
        elif "largest" in sentence:
            assert members[0][1] == where[1]
            assert members[0][0] > members[1][0]
        else:
            assert plural(named[0]) in sentence
            assert {p for _, p in members} == {where[1]}
            assert len(members) > 1


@settings(max_examples=150, deadline=None)
@given(image_objects())
def test_phrases_are_true_of_one_object(objects: ImageObjects) -> None:
    phrases = describe_objects(objects)
    assert len(phrases) == len(objects.boxes)
    spoken = Counter(phrase for phrase in phrases if phrase)
    assert not spoken or spoken.most_common(1)[0][1] == 1
    for name, box, phrase in zip(objects.categories, objects.boxes, phrases, strict=True):
        members = places(objects, name)
        if phrase == f"the only {name}":
            assert len(members) == 1
        elif phrase == f"the largest {name}":
            assert members[0][0] == (box[2] - box[0]) * (box[3] - box[1]) > members[1][0]
        elif phrase is not None:
            where = phrase.removeprefix(f"the {name} in the ")
            assert [p for _, p in members].count(where) == 1
            assert where == place((box[0] + box[2]) / 2 / WIDTH, (box[1] + box[3]) / 2 / HEIGHT)


def test_wording_varies_and_follows_the_seed() -> None:
    objects = [ImageObjects(f"{i}", (9, 9), ("ship",), ((0, 0, 4, 4),)) for i in range(40)]
    captions = {describe_image(image)[-1] for image in objects}
    assert len(captions) > 8
    assert {describe_image(objects[0], seed=s)[0] for s in range(9)} > {
        "an overhead view of one ship"
    }
    assert describe_image(ImageObjects("x", (9, 9), (), ())) == ()


def test_crowds_have_no_number() -> None:
    box = (0.0, 0.0, 4.0, 4.0)
    objects = ImageObjects("x", (9, 9), ("ship", "bus"), (box, box), frozenset({"ship"}))
    text = " ".join(describe_image(objects))
    assert "several ships" in text
    assert "one bus" in text
    assert "one ship" not in text
    assert "only ship" not in text
    assert describe_objects(objects)[0] is None


def test_plurals() -> None:
    words = ("ship", "bus", "overpass", "ferry", "highway", "vehicles", "church", "box")
    assert [plural(word) for word in words] == [
        *("ships", "buses", "overpasses", "ferries", "highways", "vehicles", "churches", "boxes")
    ]


def coco(folder: Path, annotations: list[dict[str, Any]], images: int = 2) -> Path:
    content = {
        "images": [
            {"id": i, "file_name": f"{i}.png", "width": WIDTH, "height": HEIGHT}
            for i in range(images)
        ],
        "annotations": [
            {"id": i, "image_id": 0, "category_id": 7} | a for i, a in enumerate(annotations)
        ],
        "categories": [{"id": 7, "name": "storage_tank"}, {"id": 9, "name": "Ship"}],
    }
    for i in range(images):
        PillowImage.new("RGB", (WIDTH, HEIGHT)).save(folder / f"{i}.png")
    path = folder / "coco.json"
    path.write_text(json.dumps(content))
    return path


def test_coco_categories_become_texts(tmp_path: Path) -> None:
    path = coco(
        tmp_path,
        [
            {"bbox": [2, 3, 10, 20]},
            {"bbox": [80, 50, 30, 30], "category_id": 9},
            {"bbox": [0, 0, 2, 2]},
            {"bbox": [0, 0, 50, 50], "iscrowd": 1, "category_id": 9},
        ],
    )
    source = CocoRegions(path, limits=BoxLimitConfig(min_area=5), templates=["{}!"])
    assert len(source) == 1
    assert source.left_out == {
        "boxes around a crowd": 1,
        "boxes beyond the limits of area": 1,
        "images without objects": 1,
    }
    tank, ship = source[0].regions
    assert (tank.box, ship.box) == ((2, 3, 12, 23), (80, 50, 90, 60))
    assert tank.texts[0] == "storage tank!"
    assert ship.texts == ("ship!",)
    assert "two storage tanks" in source.captions(0)[0]
    assert "several ships" in source.captions(0)[0]
    assert all(not part.captions for part in CocoRegions(path, phrases=False)[0].regions)


COCO_FAULTS = {
    "beside": ({"bbox": [100, 0, 5, 5]}, "lies outside of the image of width 90, height 60"),
    "empty": ({"bbox": [1, 1, 0, 5]}, "has reversed or equal corners"),
    "nan": ({"bbox": [1, 1, float("nan"), 5]}, "is not four finite numbers"),
    "three": ({"bbox": [1, 1, 5]}, "not x, y, width, height"),
    "image": ({"bbox": [1, 1, 5, 5], "image_id": 4}, "its image 4 is not in the file"),
    "category": ({"bbox": [1, 1, 5, 5], "category_id": 4}, "its category 4 is not in the file"),
    "none": ({}, "it has no bbox"),
}


@pytest.mark.parametrize("fault", COCO_FAULTS)
def test_faulty_coco_objects_are_named_or_counted(fault: str, tmp_path: Path) -> None:
    annotation, message = COCO_FAULTS[fault]
    path = coco(tmp_path, [{"bbox": [2, 3, 10, 20]}, annotation])
    with pytest.raises(
        ValueError, match=rf"coco\.json: annotations\[1\].*: .*{message}.*; correct it"
    ):
        CocoRegions(path)
    source = CocoRegions(path, on_error="skip")
    assert len(source.skipped) == 1
    assert "one storage tank" in source.captions(0)[0]


@pytest.mark.parametrize("key", ["images", "categories"])
def test_two_entries_of_one_id_are_named(key: str, tmp_path: Path) -> None:
    path = coco(tmp_path, [{"bbox": [2, 3, 10, 20]}])
    content = json.loads(path.read_text())
    content[key].append(content[key][0])
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"{key}\[\d\]: its id \d+ occurs twice"):
        CocoRegions(path)


def test_other_json_is_not_coco(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"images": []}')
    with pytest.raises(
        ValueError, match=r"x\.json is not of COCO's form: it has no list annotations"
    ):
        CocoRegions(tmp_path / "x.json")


@settings(max_examples=30, deadline=None)
@given(st.lists(image_objects(min_size=0), min_size=1, max_size=4, unique_by=lambda o: o.path))
def test_conversion_keeps_every_object(
    tmp_path_factory: pytest.TempPathFactory, images: list[ImageObjects]
) -> None:
    folder = tmp_path_factory.mktemp("texts")
    filled = [image for image in images if image.boxes]
    out = folder / "new" / "texts.json"
    if not filled:
        with pytest.raises(ValueError, match="nothing to write"):
            write_region_texts(images, out)
        assert not out.exists()
        return
    counts = write_region_texts(images, out)
    assert counts.images == len(filled)
    assert counts.empty_images == len(images) - len(filled)
    assert counts.regions == sum(len(image.boxes) for image in filled)
    assert [path.name for path in out.parent.iterdir()] == ["texts.json"]
    for image in filled:
        PillowImage.new("RGB", (WIDTH, HEIGHT)).save(folder / image.path)
    source = RegionTexts(out, root=folder)
    for index, image in enumerate(filled):
        item = source[index]
        assert set(item.captions) == set(describe_image(image))
        assert [part.category for part in item.regions] == list(image.categories)
        assert [part.captions for part in item.regions] == [
            (phrase,) if phrase else () for phrase in describe_objects(image)
        ]
        for part, box in zip(item.regions, image.boxes, strict=True):
            assert part.box == pytest.approx(box, abs=1e-5)


def test_missing_images_are_named_or_counted(tmp_path: Path) -> None:
    images = [ImageObjects("gone.png", (9, 9), ("ship",), ((0, 0, 4, 4),))]
    with pytest.raises(ValueError, match=r"gone\.png: its image .*gone\.png does not exist"):
        list(existing_images(images, tmp_path, Problems(tmp_path / "x.json", "error")))
    problems = Problems(tmp_path / "x.json", "skip")
    assert list(existing_images(images, tmp_path, problems)) == []
    assert len(problems.skipped) == 1


def convert(root: Path, *arguments: str) -> None:
    """Run the command in this process, which has torch already."""
    path = root / "tools" / "convert_regions.py"
    spec = importlib.util.spec_from_file_location("convert_regions", path)
    assert spec
    assert spec.loader
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    tool.main(arguments)


@pytest.mark.slow  # where OpenMMLab is installed, benchmarks.detection imports it
def test_command_on_dota(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("images", "labelTxt"):
        (tmp_path / name).mkdir()
    PillowImage.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "images/P1.png")
    lines = ["gsd:0.3", "10 5 20 15 10 25 0 15 small-vehicle 0", "80 50 95 50 95 70 80 70 ship 1"]
    (tmp_path / "labelTxt/P1.txt").write_text("\n".join(lines))
    out = tmp_path / "out.json"
    convert(root, "--dota", str(tmp_path), "--out", str(out))
    assert "1 images, 2 regions of 2 categories" in capsys.readouterr().out
    item = RegionTexts(out, root=tmp_path / "images")[0]
    assert [(part.category, part.box) for part in item.regions] == [
        ("small vehicle", (0, 5, 20, 25)),
        ("ship", (80, 50, 90, 60)),
    ]
    (tmp_path / "labelTxt/P1.txt").write_text("1 2 3 ship 0")
    with pytest.raises(SystemExit, match=r"P1\.png: .*P1\.txt, line 1 is not eight coordinates"):
        convert(root, "--dota", str(tmp_path), "--out", str(out))
    with pytest.raises(SystemExit, match=r"folder .*labelTxt does not exist"):
        convert(
            root,
            "--dota",
            str(tmp_path / "images"),
            "--images",
            str(tmp_path / "images"),
            "--out",
            str(out),
        )


def test_command_on_coco(
    root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = coco(tmp_path, [{"bbox": [2, 3, 10, 20]}, {"bbox": [200, 3, 10, 20]}])
    arguments = ("--coco", str(path), "--out", str(tmp_path / "out.json"))
    with pytest.raises(SystemExit, match=r"error: .*annotations\[1\] of 0\.png: its box"):
        convert(root, *arguments)
    assert not (tmp_path / "out.json").exists()
    convert(root, *arguments, "--on_error", "skip")
    assert "1 images, 1 regions of 1 categories" in capsys.readouterr().out
    assert "1 entries skipped" in caplog.text
    assert len(RegionTexts(tmp_path / "out.json")[0].regions) == 1
    done = subprocess.run(
        [sys.executable, root / "tools/convert_regions.py", "--help"],
        capture_output=True,
        text=True,
    )
    assert "--dota DIR" in done.stdout
