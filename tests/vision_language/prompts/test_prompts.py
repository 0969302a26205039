from __future__ import annotations

from pathlib import Path

import pytest

from cmid.vision_language.prompts.class_names import CLASS_NAMES, named_classes, words
from cmid.vision_language.prompts.templates import read_templates
from cmid.vision_language.prompts.vocabularies import CLASS_LISTS, palette, read_vocabulary

COUNTS = {
    "aid": 30,
    "eurosat": 10,
    "fmow": 62,
    "million_aid": 51,
    "pattern_net": 38,
    "resisc45": 45,
    "rsi_cb256": 35,
    "skyscript": 70,
    "ucm": 21,
}


def test_every_set_has_its_number_of_different_names() -> None:
    assert {name: len(set(names)) for name, names in CLASS_NAMES.items()} == COUNTS
    assert {name: len(names) for name, names in CLASS_NAMES.items()} == COUNTS


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("BareLand", "bare land"),
        ("bare_land", "bare land"),
        ("multi-unit_residential", "multi unit residential"),
        ("ABCTower2Left", "abc tower2 left"),
        ("tree  Farm", "tree farm"),
    ],
)
def test_folders_become_words(folder: str, expected: str) -> None:
    assert words(folder) == expected


def test_names_of_a_set_are_found_in_any_spelling() -> None:
    folders = ["DenseResidential", "bareland", "storage_tanks"]
    assert named_classes(folders, "aid") == ["dense residential", "bare land", "storage tanks"]
    assert named_classes(["AnnualCrop", "SeaLake"], "eurosat") == ["annual crop", "sea or lake"]
    assert named_classes(["multi-unit_residential"], "fmow") == ["multi-unit residential"]
    assert named_classes(["bapsketball_court"], "million_aid") == ["basketball court"]
    assert named_classes(["AnnualCrop"]) == ["annual crop"]
    with pytest.raises(ValueError, match="the set aid has no name for 1 folders, first Moon"):
        named_classes(["Beach", "Moon"], "aid")


def test_names_from_a_file(tmp_path: Path) -> None:
    listed, mapped = tmp_path / "listed.txt", tmp_path / "mapped.txt"
    listed.write_text("a field\n\na lake\n")
    mapped.write_text("SeaLake: open water\nCrop: a field\n")
    assert named_classes(["Crop", "SeaLake"], str(listed)) == ["a field", "a lake"]
    assert named_classes(["Crop", "SeaLake"], str(mapped)) == ["a field", "open water"]
    with pytest.raises(ValueError, match="2 names for 1 classes"):
        named_classes(["Crop"], str(listed))
    with pytest.raises(ValueError, match="no name for 1 folders, first Moon"):
        named_classes(["Moon"], str(mapped))
    with pytest.raises(FileNotFoundError, match="neither a set"):
        named_classes(["Crop"], "nowhere")


def test_names_of_any_script_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("机场: airport\n港口: harbour\nFor\u00eat: forest\n", encoding="utf-8-sig")
    folders = ["港口", "Fore\u0302t", "机场"]  # the accent as some file systems store it
    assert named_classes(folders, str(path)) == ["harbour", "forest", "airport"]
    assert named_classes(["机场", "港口"]) == ["机场", "港口"]
    with pytest.raises(ValueError, match="no name for 1 folders, first 河流"):
        named_classes(["机场", "河流"], str(path))


def test_names_that_nothing_tells_apart_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    for text, message in (
        ("Sea: water\nLake: water\n", "the classes Lake and Sea are both named 'water'"),
        ("water\nwater\n", "the classes Lake and Sea are both named 'water'"),
        ("Sea: water\nsea: open water\nLake: lake\n", "names 'sea' twice"),
        ("Sea: water\na lake\n", "and 'a lake': give all one form"),
        ("Sea: water\nLake:\n", "no name behind 'Lake'"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=rf"names\.txt.*{message}"):
            named_classes(["Lake", "Sea"], str(path))
    with pytest.raises(ValueError, match=r"the folders: .* bare_land and BareLand are both named"):
        named_classes(["bare_land", "BareLand"])


def test_folders_of_real_sets_have_names(shared_data: Path) -> None:
    for name, folder in (("eurosat", "eurosat/val"), ("ucm", "ucm/images")):
        folders = sorted(path.name for path in (shared_data / folder).iterdir())
        assert sorted(named_classes(folders, name)) == sorted(CLASS_NAMES[name])


def test_templates_by_name_text_and_file(tmp_path: Path) -> None:
    assert read_templates("satellite") == ("a satellite photo of {}.", "a satellite image of {}")
    assert read_templates("seen: {}") == ("seen: {}",)
    path = tmp_path / "templates.txt"
    path.write_text("one {}\n\ntwo {}\n")
    assert read_templates(str(path)) == ("one {}", "two {}")
    with pytest.raises(FileNotFoundError, match="neither a set of templates"):
        read_templates("nowhere")


def test_there_are_eighty_imagenet_templates() -> None:
    pytest.importorskip("open_clip", reason="extra vision-language is not installed")
    templates = read_templates("imagenet")
    assert len(set(templates)) == 80
    assert all(template.count("{}") == 1 for template in templates)


def test_class_lists_parse_and_have_distinct_colours() -> None:
    counts = {name: len(known.vocabulary.classes) for name, known in CLASS_LISTS.items()}
    assert counts == {
        "open_earth_map": 9,
        "loveda": 7,
        "potsdam": 6,
        "vaihingen": 6,
        "isaid": 16,
        "udd5": 5,
        "vdd": 7,
        "uavid": 7,
        "roads": 2,
        "scenes": 11,
    }
    for known in CLASS_LISTS.values():
        colours = palette(known.vocabulary.classes)
        assert len(set(colours)) == len(colours)


def test_a_vocabulary_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_text("other\nroad, street\n")
    known = read_vocabulary(str(path), background="other")
    assert known.vocabulary.queries == ("other", "road", "street")
    assert known.vocabulary.background == 0
    assert not known.zero_ignored
    with pytest.raises(ValueError, match="'sky' is not in the vocabulary"):
        read_vocabulary(str(path), background="sky")
    with pytest.raises(FileNotFoundError, match="neither a list"):
        read_vocabulary("nowhere")
    path.write_text("\n")
    with pytest.raises(ValueError, match=r"classes\.txt: a vocabulary needs two or more lines"):
        read_vocabulary(str(path))
