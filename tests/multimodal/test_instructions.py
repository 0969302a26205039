"""Conversations made of labelled sets: true, balanced, readable."""

from __future__ import annotations

import json
import random
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cmid.boxes import around, box_corners
from cmid.multimodal.boxes import BoxForm
from cmid.multimodal.data import ConversationFile
from cmid.multimodal.instructions.annotated import Annotated, Vocabulary
from cmid.multimodal.instructions.asking import Asker, describe_changes
from cmid.multimodal.instructions.balancing import EVEN, balance, balance_table
from cmid.multimodal.instructions.making import make_instructions, overlap_facts
from cmid.multimodal.instructions.reading import change, find_changes, masks
from cmid.multimodal.instructions.settings import LabelledConfig, WritingConfig
from cmid.vision_language.data.objects import ImageObjects
from cmid.vision_language.data.problems import Problems

NAMES = ("ship", "plane", "storage tank", "bridge", "car")


def picture(path: Path, size: int = 20) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size)).save(path)
    return path


def harbours(count: int = 60) -> list[Annotated]:
    """Images of 100 pixels with drawn objects."""
    draws, items = random.Random(0), []
    for number in range(count):
        categories, boxes = [], []
        for name in NAMES:
            for _ in range(draws.choice([0, 0, 1, 2, 3])):
                x, y = draws.randrange(80), draws.randrange(80)
                categories.append(name)
                boxes.append((float(x), float(y), x + 15.0, y + 10.0))
        objects = ImageObjects(f"{number}.png", (100, 100), tuple(categories), tuple(boxes))
        items.append(Annotated((Path(f"{number}.png"),), objects=objects))
    return items


def percents(corners: Any) -> tuple[int, ...]:
    return tuple(round(100 * value) for value in around(corners))


def questions(items: list[Annotated], **settings: Any) -> list[Any]:
    asker = Asker(Vocabulary.of(items), **settings)
    return [(n, a) for n, item in enumerate(items) for a in asker.ask(item, random.Random(n))]


def test_answers_are_what_the_labels_say() -> None:
    items = harbours()
    form = BoxForm(cells=100)
    singular = {f"{name}s": name for name in NAMES}
    seen = Counter[str]()
    for number, each in questions(items, form=form):
        objects: Any = items[number].objects
        counts = Counter(objects.categories)
        named = [
            singular.get(w, w) for w in re.findall("|".join([*singular, *NAMES]), each.question)
        ]
        seen[each.task] += 1
        if each.task == "presence":
            assert (each.answer == "yes") == (counts[named[0]] > 0)
        elif each.task == "count":
            assert each.answer == str(counts[named[0]])
        elif each.task == "comparison":
            assert (each.answer == "yes") == (counts[named[0]] > counts[named[1]])
        elif each.task == "honesty":
            assert counts[named[0]] == 0
            assert named[0] in each.answer
        elif each.task == "grounding":
            found = form.parse(each.answer)
            wanted = [
                b for c, b in zip(objects.categories, objects.boxes, strict=True) if c == named[0]
            ]
            assert [percents(box) for box in found or ()] == wanted
        elif each.task == "region":
            (box,) = form.parse(each.question) or ()
            assert (each.answer, percents(box)) in zip(
                objects.categories, objects.boxes, strict=True
            )
        elif each.task == "object_choice":
            right = re.search(rf"{each.answer}\. ([a-z ]+?)(?: [A-D]\.|$)", each.question)
            assert right is not None
            assert counts[right[1]] > 0
    assert {"presence", "count", "comparison", "honesty", "grounding", "region"} <= {*seen}
    assert {"location", "referring", "region_caption", "caption", "object_choice"} <= {*seen}


def test_no_answer_can_be_guessed_from_its_question() -> None:
    asked = questions(harbours())
    kept = balance(asked)
    assert len(kept) > len(asked) / 3
    answers: dict[Any, Counter[str]] = defaultdict(Counter)
    for _, each in kept:
        answers[each.task, each.subject][each.group] += 1
    for (task, _), counts in answers.items():
        if task in EVEN:
            assert counts["yes"] == counts["no"] > 0
    for name in NAMES:
        assert answers["honesty", name]["absent"] <= answers["grounding", name]["present"]
        counts = answers["count", name]
        assert max(counts.values()) <= 2 * max(1, np.median([*counts.values()]))
    rows = {row.name: row.cells for row in balance_table(asked, kept).rows}
    assert rows["presence"][-1] == "0.50"
    assert balance(asked) == kept
    assert balance(asked, seed=1) != kept


def test_what_a_set_does_not_know_is_not_asked() -> None:
    (item,) = harbours(1)
    partial = Annotated(item.images, objects=item.objects, partial=True)
    tasks = {each.task for _, each in questions([partial])}
    assert tasks <= {"region", "region_caption"}
    crowd = ImageObjects("a.png", (10, 10), ("ship",), ((0.0, 0.0, 5.0, 5.0),), frozenset({"ship"}))
    crowded = questions([Annotated((Path("a.png"),), objects=crowd)])
    assert not {"count", "grounding", "location"} & {each.task for _, each in crowded}
    vocabulary = Vocabulary((), (), ("forest", "road", "water"))

    def of_cover(**cover: float) -> set[tuple[str, str]]:
        unsure = Annotated((Path("a.png"),), cover=cover, whole=False)
        said = [*Asker(vocabulary).ask(unsure, random.Random(0))]
        return {(each.task, each.group if each.task != "cover_comparison" else "") for each in said}

    there = ("cover_presence", "yes")
    assert of_cover(water=0.3) == {there}  # the rest may be forest
    assert of_cover(water=0.6) == {there, ("cover", "water")}
    assert of_cover(water=0.4, road=0.2) == {there}
    assert of_cover(water=0.6, road=0.2) == {there, ("cover", "water"), ("cover_comparison", "")}


def test_shares_of_a_mask_are_of_all_its_pixels(tmp_path: Path) -> None:
    picture(tmp_path / "img_dir/a.png")
    (tmp_path / "ann_dir").mkdir()
    mask = np.full((20, 20), 255, dtype=np.uint8)
    mask[:2] = 1
    Image.fromarray(mask).save(tmp_path / "ann_dir/a.png")
    (item,) = masks(tmp_path, ("land", "road"), Problems(tmp_path, "error"))
    assert item.cover == {"road": 0.1}
    assert item.unlabelled == pytest.approx(0.9)
    assert "cover" not in {each.task for _, each in questions([item])}


def test_changes_are_told_as_the_mask_has_them() -> None:
    changed = np.zeros((100, 100), dtype=bool)
    changed[:20, :20] = True
    changed[90:95, 90:95] = True
    changed[50, 50] = True  # too small to tell of
    found = find_changes(changed, "buildings")
    assert found is not None
    assert found.regions == ((0.0, 0.0, 0.2, 0.2), (0.9, 0.9, 0.95, 0.95))
    assert describe_changes(found) == (
        "Buildings have changed in 2 places, the largest in the upper left: about 4 percent of the"
        " area."
    )
    nothing = find_changes(changed & False)
    assert nothing is not None
    assert describe_changes(nothing) == "Nothing has changed."


def test_pairs_whose_changes_are_too_small_are_counted_and_not_called_unchanged(
    tmp_path: Path,
) -> None:
    for number in range(2):
        for name in ("A", "B", "label"):
            picture(tmp_path / f"{name}/{number}.png", size=100)
    mask = np.zeros((100, 100), dtype=np.uint8)
    mask[50, 50:52] = 1
    Image.fromarray(mask).save(tmp_path / "label/1.png")
    problems = Problems(tmp_path, "error")
    (unchanged,) = change(tmp_path, ("A", "B", "label"), problems)
    assert unchanged.images[0].name == "0.png"
    assert problems.left_out.total() == 1


def make(data: Path, out: Path, kind: Any, *, writing: Any = None, **labelled: Any) -> Any:
    made = make_instructions(
        LabelledConfig(data, kind=kind, **labelled), WritingConfig(out=out, **(writing or {})),
        command="make",
    )  # fmt: skip
    assert "Balance" in (made.report / "report.md").read_text()
    source = ConversationFile(out)
    assert len(source) == made.conversations
    return json.loads(out.read_text())


def test_classes_of_folders_become_choices_and_turns(tmp_path: Path) -> None:
    for name in ("BareLand", "Forest", "River"):
        for number in range(4):
            picture(tmp_path / "set" / name / f"{number}.png")
    settings = {"turns": 2, "task_tags": True}
    entries = make(tmp_path / "set", tmp_path / "a.json", "classification", writing=settings)
    assert {entry["image"].split("/")[0] for entry in entries} == {"set"}
    assert max(len(entry["conversations"]) for entry in entries) == 4
    said = [turn["value"] for entry in entries for turn in entry["conversations"]]
    assert "bare land" in said
    assert sum(text.startswith("<image>\n") for text in said) == len(entries)
    assert any("[CLS] " in text for text in said)
    with pytest.raises(ValueError, match="no task 'x'"):
        make(tmp_path / "set", tmp_path / "a.json", "classification", writing={"tasks": ("x",)})


def test_oriented_boxes_and_masks_and_pairs_and_captions(tmp_path: Path) -> None:
    for number in range(6):
        picture(tmp_path / f"dota/images/{number}.png")
        turned = "10 2 18 10 10 18 2 10 ship 0\n" if number % 2 else "1 1 5 1 5 5 1 5 plane 0\n"
        (tmp_path / "dota/labelTxt").mkdir(exist_ok=True)
        (tmp_path / f"dota/labelTxt/{number}.txt").write_text(turned)
        mask = np.zeros((20, 20), dtype=np.uint8)
        mask[: 3 * number] = 1
        for name in ("img_dir", "A", "B"):
            picture(tmp_path / f"masks/{name}/{number}.png")
        for name in ("ann_dir", "label"):
            (tmp_path / f"masks/{name}").mkdir(exist_ok=True)
            Image.fromarray(mask).save(tmp_path / f"masks/{name}/{number}.png")
    entries = make(
        tmp_path / "dota", tmp_path / "b.json", "dota", writing={"box_shape": "oriented"}
    )
    texts = json.dumps(entries)
    report = (tmp_path / "b_report/report.md").read_text()
    assert "turned boxes as written overlap" in report
    assert "|<45>}" in texts or "|<-45>}" in texts
    entries = make(tmp_path / "masks", tmp_path / "c.jsonl.json", "masks", names=("land", "road"))
    assert {"cover", "cover_presence"} <= {entry["tasks"][0] for entry in entries}
    entries = make(tmp_path / "masks", tmp_path / "d.json", "change", changed="roads")
    assert all(len(entry["image"]) == 2 for entry in entries)
    answers = [entry["conversations"][1]["value"] for entry in entries]
    assert "No roads have changed." in answers
    (tmp_path / "dota/captions.csv").write_text("path,caption\nimages/0.png,A plane.\n")
    (entry,) = make(tmp_path / "dota/captions.csv", tmp_path / "e.json", "captions")
    assert entry["conversations"][1]["value"] == "A plane."
    table = "path,caption,split\nimages/0.png,A plane.,train\nimages/1.png,A ship.,test\n"
    (tmp_path / "dota/split.csv").write_text(table)
    (entry,) = make(tmp_path / "dota/split.csv", tmp_path / "f.json", "captions", split="test")
    assert entry["conversations"][1]["value"] == "A ship."
    with pytest.raises(ValueError, match="--split is of --kind captions"):
        LabelledConfig(data=tmp_path, kind="classification", split="test")


def test_what_turned_boxes_lose_in_images_that_are_not_square_is_told() -> None:
    def item(width: int, height: int, angle: float) -> Annotated:
        corners = box_corners((width / 2, height / 2, height / 2, height / 10, angle))
        points = tuple((float(x), float(y)) for x, y in corners)
        box = around(corners)
        objects = ImageObjects("a.png", (height, width), ("ship",), (box,), corners=(points,))
        return Annotated((Path("a.png"),), objects=objects)

    turned, form = item(800, 400, np.pi / 4), BoxForm(cells=1000, shape="oriented")
    (line,) = overlap_facts([turned], form)
    least = float(re.findall(r"[\d.]+(?= at least)", line)[0])
    assert 0.6 < least < 0.9
    for exact in (item(400, 400, np.pi / 4), item(800, 400, 0.0), item(800, 400, np.pi / 2)):
        (line,) = overlap_facts([exact], form)
        assert float(re.findall(r"[\d.]+(?= at least)", line)[0]) > 0.95
    assert overlap_facts([turned], BoxForm(cells=1000, shape="polygon")) == []
    written = BoxForm(cells=1000, shape="polygon").write(turned.corners(0))
    (found,) = BoxForm(cells=1000).parse(written) or ()
    np.testing.assert_allclose(found, turned.corners(0), atol=6e-4)


def test_features_of_a_map_become_attributes_and_captions(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio", reason="extra geo is not installed")
    pytest.importorskip("rasterio.warp", reason="extra geo is not installed")
    pytest.importorskip("pyogrio", reason="extra geo is not installed")
    west, north = 500_000.0, 5_000_000.0
    shape = {"count": 3, "height": 50, "width": 50, "dtype": "uint8", "crs": "EPSG:32632"}
    for name, shift in (("here", 0), ("elsewhere", 90_000)):
        transform = rasterio.transform.from_origin(west + shift, north, 10, 10)
        path = tmp_path / f"scenes/{name}.tif"
        path.parent.mkdir(exist_ok=True)
        with rasterio.open(path, "w", driver="GTiff", transform=transform, **shape) as file:
            file.write(np.zeros((3, 50, 50), dtype=np.uint8))

    def feature(tags: dict[str, str], x0: float, y0: float, x1: float, y1: float) -> dict[str, Any]:
        xs = [west + 10 * x for x in (x0, x1, x1, x0, x0)]
        ys = [north - 10 * y for y in (y0, y0, y1, y1, y0)]
        lon, lat = rasterio.warp.transform("EPSG:32632", "EPSG:4326", xs, ys)
        ring = [[*point] for point in zip(lon, lat, strict=True)]
        return {
            "type": "Feature",
            "properties": tags,
            "geometry": {"type": "Polygon", "coordinates": [ring]},
        }

    features = [
        feature({"building": "yes"}, 5, 5, 15, 10),
        feature({"building": "yes"}, 5, 10, 15, 15),  # one building, which the map cuts in two
        feature({"building": "church"}, 30, 30, 38, 38),
        feature({"natural": "water"}, 25, 0, 75, 25),  # half of it outside
        feature({"name": "nothing"}, 0, 0, 5, 5),
    ]
    layer = tmp_path / "map.geojson"
    layer.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    entries = make(tmp_path / "scenes", tmp_path / "f.json", "features", features=layer)
    assert {entry["image"] for entry in entries} == {"scenes/here.tif"}
    about = entries[0]["attributes"]
    assert [*about] == ["water", "building", "church building"]
    assert about["building"]["features"] == 2
    assert about["water"] == {"features": 1, "share": 0.25, "place": "upper right"}
    assert {entry["tasks"][0] for entry in entries} <= {"caption", "region", "region_caption"}
    said = [entry["conversations"] for entry in entries]
    (caption,) = {t[1]["value"] for t in said if "percent" in t[1]["value"]}
    assert "water, building and church building" in caption
    assert caption.endswith("About 25 percent of it is water.")
    with pytest.raises(ValueError, match="no feature with none"):
        make(tmp_path / "scenes", tmp_path / "f.json", "features", features=layer, tags=("none",))
