"""Region texts: what is read, what is refused, what is counted."""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PillowImage

from cmid.data.source import UnreadableImageError
from cmid.vision_language.data import BoxLimitConfig, RegionTexts

BOX = {"x1": 4, "y1": 2, "x2": 20, "y2": 12, "W": 40, "H": 30}
ENTRY = {
    "global_filepath": "a.png",
    "global_caption": "a harbour with a ship ",
    "brief_caption": "a harbour",
    "segment": [
        {"bbox": BOX, "category": "Storage_Tank", "category_id": 3, "cap": "a white tank"},
        {"bbox": {**BOX, "x2": 6, "y2": 4}, "category": "ship"},
        {"bbox": BOX, "cap": "something round"},
    ],
}


def fresh() -> dict[str, Any]:
    return json.loads(json.dumps(ENTRY))


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    PillowImage.new("RGB", (40, 30)).save(tmp_path / "a.png")

    def write(*entries: Any) -> Path:
        path = tmp_path / "texts.json"
        path.write_text(json.dumps(entries))
        return path

    return write


def changed(field: str, value: Any) -> dict[str, Any]:
    entry = fresh()
    entry["segment"][0]["bbox"][field] = value
    return entry


def test_captions_and_regions_are_read(write: Callable[..., Path]) -> None:
    source = RegionTexts(write(ENTRY), templates=["a photo of {}"])
    item = pickle.loads(pickle.dumps(source))[0]
    assert len(source) == 1
    assert item.captions == source.captions(0) == ("a harbour with a ship", "a harbour")
    tank, ship, thing = item.regions
    assert tank.box == (4, 2, 20, 12)
    assert tank.category == "storage tank"
    assert tank.texts == ("a photo of storage tank", "a white tank")
    assert [tank.key(text) for text in tank.texts] == ["storage tank", "a white tank"]
    assert ship.texts == ("a photo of ship",)
    assert (thing.texts, thing.category) == (("something round",), None)
    assert item.image.full_size == (30, 40)
    assert "a satellite image of ship" in RegionTexts(write(ENTRY))[0].regions[1].texts


def test_fractions_are_recognised_and_give_pixels(write: Callable[..., Path]) -> None:
    entry = fresh()
    for segment in entry["segment"]:
        box = segment["bbox"]
        for name, unit in (("x1", "W"), ("x2", "W"), ("y1", "H"), ("y2", "H")):
            box[name] = box[name] / box[unit]
    source = RegionTexts(write(entry))
    assert source.normalized
    assert source[0].regions[0].box == pytest.approx((4, 2, 20, 12))
    with pytest.raises(ValueError, match="set coordinates to normalized"):
        RegionTexts(write(entry), coordinates="pixel")
    with pytest.raises(ValueError, match="lies outside"):
        RegionTexts(write(ENTRY), coordinates="normalized")


def test_boxes_follow_an_image_that_was_resized_as_a_whole(write: Callable[..., Path]) -> None:
    entry = fresh()
    for segment in entry["segment"]:
        segment["bbox"] = {name: value * 2 for name, value in segment["bbox"].items()}
    assert RegionTexts(write(entry))[0].regions[0].box == (4, 2, 20, 12)
    for segment in entry["segment"]:
        segment["bbox"]["W"] = 60
    with pytest.raises(UnreadableImageError, match=r"a\.png has width 40 and height 30, its annot"):
        RegionTexts(write(entry))[0]


FAULTS = {
    "reversed": (changed("x2", 1), r"has reversed or equal corners"),
    "outside": (changed("y2", 40), r"lies outside of the image of width 40, height 30"),
    "negative": (changed("x1", -3), r"lies outside"),
    "nan": (changed("x1", float("nan")), r"is not four finite numbers"),
    "text": (changed("x1", "4"), r"is not four finite numbers"),
    "no size": (changed("W", 0), r"has height 30 and width 0, not pixels"),
    "other size": (changed("W", 41), r"its W and H differ"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_box_is_named_or_counted(
    fault: str, write: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    entry, message = FAULTS[fault]
    path = write(ENTRY, entry)
    with pytest.raises(
        ValueError, match=rf"texts\.json: entry 1 \(a\.png\), segment .: .*{message}"
    ):
        RegionTexts(path)
    with caplog.at_level(logging.WARNING):
        source = RegionTexts(path, on_error="skip")
    assert len(source) == 2
    assert len(source[1].regions) == (1 if fault == "other size" else 2)
    assert len(source.skipped) == (2 if fault == "other size" else 1)
    assert f"texts.json: {len(source.skipped)} entries skipped: " in caplog.text


@pytest.mark.parametrize("name", ["x1", "y1", "x2", "y2", "W", "H"])
def test_named_fields_are_needed(name: str, write: Callable[..., Path]) -> None:
    entry = fresh()
    del entry["segment"][1]["bbox"][name]
    with pytest.raises(ValueError, match=rf"segment 1: it has no {name}; correct it$"):
        RegionTexts(write(entry))


def test_faulty_images_are_named_or_counted(write: Callable[..., Path]) -> None:
    path = write(ENTRY, {"global_caption": "x"}, {"global_filepath": "b.png"}, 7)
    with pytest.raises(ValueError, match="entry 1: it has no global_filepath"):
        RegionTexts(path)
    source = RegionTexts(path, on_error="skip")
    assert len(source) == 1
    assert [line.split(": ")[1] for line in source.skipped] == ["entry 1", "entry 2", "entry 3"]
    with pytest.raises(ValueError, match="segment 0: it has neither a category nor a cap"):
        RegionTexts(write({**ENTRY, "segment": [{"bbox": BOX}]}))


def test_rounded_corners_are_cut_off_at_the_border(write: Callable[..., Path]) -> None:
    source = RegionTexts(write(changed("x2", 40.6)))
    assert source[0].regions[0].box == (4, 2, 40, 12)


def test_limits_of_area_are_counted(
    write: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        source = RegionTexts(write(ENTRY), limits=BoxLimitConfig(5, 1000))
    assert [region.category for region in source[0].regions] == ["storage tank", None]
    assert source.left_out == {"boxes beyond the limits of area": 1}
    assert "left out: 1 boxes beyond the limits of area" in caplog.text
    with pytest.raises(ValueError, match="min_area <= max_area"):
        BoxLimitConfig(5, 1)


def test_the_file_and_the_folder_of_images_are_named(write: Callable[..., Path]) -> None:
    path = write(ENTRY)
    with pytest.raises(FileNotFoundError, match=r"its first image .*gone/a\.png does not exist"):
        RegionTexts(path, root=path.parent / "gone")
    with pytest.raises(FileNotFoundError, match=r"annotations .*other\.json do not exist"):
        RegionTexts(path.parent / "other.json")
    with pytest.raises(ValueError, match=r"texts\.json names no image"):
        RegionTexts(write())
    with pytest.raises(ValueError, match=r"has no \{\} for the name"):
        RegionTexts(path, templates=["a photo"])
    path.write_text("[{")
    with pytest.raises(ValueError, match=r"texts\.json is not JSON"):
        RegionTexts(path)
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"texts\.json is not a list of images"):
        RegionTexts(path)
