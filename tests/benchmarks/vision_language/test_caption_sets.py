"""Which split and which captions of a file are read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.commands.evaluate_clip import parse_arguments
from benchmarks.vision_language.caption_sets import CAPTION_COLUMN_OF, open_captions
from benchmarks.vision_language.outcome import EvaluationConfig
from benchmarks.vision_language.tasks import Retrieval
from cmid.data.writing import write_image
from cmid.vision_language.data import CaptionTable
from cmid.vision_language.data.columns import caption_columns
from tests.evaluation.image_text_model import COLOURS, ColourCLIP, coloured


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in COLOURS:
        pixels = coloured(name).permute(1, 2, 0).contiguous().numpy()
        write_image(tmp_path / f"{name}.png", pixels)
    return tmp_path


def write(root: Path, name: str, *lines: str) -> str:
    (root / name).write_text("\n".join(lines) + "\n")
    return str(root / name)


def captions(path: str, **options: str) -> list[tuple[str, ...]]:
    source = open_captions(path, **options).source  # type: ignore[arg-type]
    return [source.captions(index) for index in range(len(source))]


def test_a_published_table_without_splits_is_read_whole(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write(root, "t.csv", "filepath,title", *(f"{c}.png,something {c}" for c in COLOURS))
    outcome = Retrieval(table).run(ColourCLIP(), "colours", EvaluationConfig())
    assert outcome.measures["mean"] == 1
    assert outcome.facts.startswith("all rows (no splits are told); 3 images and 3 captions")
    assert "t.csv tells no splits: all of it is read" in capsys.readouterr().err
    assert len(captions(table, split="all")) == 3
    assert "tells no splits" not in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"t\.csv tells no splits: leave out --split, or"):
        captions(table, split="test")
    with pytest.raises(ValueError, match="no column split, only filepath, title: name no split"):
        CaptionTable(table, split="test")


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "json"])
def test_a_file_with_splits_is_read_in_its_test_split(
    form: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        ("red.png", "red", "train"),
        ("green.png", "green", "test"),
        ("blue.png", "blue", "val"),
    ]
    if form == "json":
        images = [
            {"filename": path, "split": split, "sentences": [{"raw": text}]}
            for path, text, split in rows
        ]
        path = write(root, "t.json", json.dumps({"images": images}))
    elif form == "jsonl":
        keys = ("image", "caption", "split")
        lines = [json.dumps(dict(zip(keys, row, strict=True))) for row in rows]
        path = write(root, "t.jsonl", *lines)
    else:
        separator = "," if form == "csv" else "\t"
        head = separator.join(("FilePath", "Title", "Split"))
        path = write(root, f"t.{form}", head, *(separator.join(row) for row in rows))
    assert captions(path) == captions(path, split="test") == [("green",)]
    assert captions(path, split="all") == [("red",), ("green",), ("blue",)]
    assert open_captions(path, split="val").facts.startswith("split val")
    assert not capsys.readouterr().err
    with pytest.raises(ValueError, match=r"no split 'dev'; there are: train \(1\), test \(1\)"):
        captions(path, split="dev")


@pytest.mark.parametrize("form", ["jsonl", "json"])
def test_json_without_splits_is_read_whole(form: str, root: Path) -> None:
    if form == "json":
        images = [{"filename": f"{c}.png", "sentences": [{"raw": c}]} for c in COLOURS]
        path = write(root, "t.json", json.dumps({"images": images}))
    else:
        path = write(
            root, "t.jsonl", *(json.dumps({"image": f"{c}.png", "captions": [c]}) for c in COLOURS)
        )
    assert captions(path) == [(colour,) for colour in COLOURS]
    with pytest.raises(ValueError, match="tells no splits"):
        captions(path, split="test")


def test_white_space_around_a_split_is_none_of_it(root: Path) -> None:
    path = write(root, "t.csv", "filepath,title,split", "red.png,red, test", "blue.png,blue,train ")
    assert captions(path) == [("red",)]


def test_skyscripts_captions_are_those_of_its_protocol(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The title names another colour: read, it would give a mean recall below 1.
    others = [*COLOURS][1:] + [*COLOURS][:1]
    rows = [f"{c}.png,{other},{c}" for c, other in zip(COLOURS, others, strict=True)]
    table = write(root, "sky.csv", "filepath,title,title_multi_objects", *rows)
    expected = [(colour,) for colour in COLOURS]
    assert captions(table) == expected
    said = capsys.readouterr().err
    assert "captions are those of the column title_multi_objects, as SkyScript's protocol" in said
    assert captions(table, protocol="skyscript") == expected
    assert captions(table, caption_column="Title_Multi_Objects") == expected
    assert captions(table, caption_column="title") == [(other,) for other in others]
    outcome = Retrieval(table).run(ColourCLIP(), "colours", EvaluationConfig())
    assert outcome.measures["mean"] == 1
    assert "captions of the column title_multi_objects" in outcome.facts
    wrong = Retrieval(table, caption_column="title").run(
        ColourCLIP(), "colours", EvaluationConfig()
    )
    assert wrong.measures["mean"] < 1
    with pytest.raises(ValueError, match="give --caption_column or --protocol, not both"):
        captions(table, protocol="skyscript", caption_column="title")


def test_several_columns_of_captions_have_to_be_chosen_from(root: Path) -> None:
    table = write(root, "t.csv", "filepath,caption,title", "red.png,a,b")
    with pytest.raises(
        ValueError, match=r"t\.csv has 2 columns of captions: name one, --caption_column caption or"
    ):
        captions(table)
    assert captions(table, caption_column="title") == [("b",)]
    line = json.dumps({"image": "red.png", "caption_en": "a", "caption_zh": "红"})
    lines = write(root, "t.jsonl", line)
    with pytest.raises(ValueError, match="--caption_column caption_en or caption_zh"):
        captions(lines)
    assert captions(lines, caption_column="caption_zh") == [("红",)]
    with pytest.raises(ValueError, match="has no column text, only image, caption_en, caption_zh"):
        captions(lines, caption_column="text")
    with pytest.raises(ValueError, match="has no column title_multi_objects, only filepath"):
        captions(table, protocol="skyscript")
    with pytest.raises(ValueError, match="2 columns 'title': rename all but one"):
        captions(write(root, "twice.csv", "filepath,title,title", "red.png,a,b"))


def test_lines_that_name_their_captions_differently_are_read(root: Path) -> None:
    rows = [{"image": "red.png", "captions": ["a", "b"]}, {"image": "blue.png", "caption": "c"}]
    assert captions(write(root, "t.jsonl", *map(json.dumps, rows))) == [("a", "b"), ("c",)]


def test_columns_about_captions_hold_none() -> None:
    names = ["id", "text_id", "title_len", "caption_source", "sentids", "context", "imgtext_score"]
    assert caption_columns(names) == ()
    assert caption_columns(["alt_text", *names, "title"]) == ("title", "alt_text")


def test_training_says_which_of_several_columns_it_reads(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = write(root, "sky.csv", "filepath,title_multi_objects,title", "red.png,two,one")
    assert CaptionTable(table).captions(0) == ("one",)
    assert (
        "captions are those of the column title; there is also title_multi_objects" in caplog.text
    )
    caplog.clear()
    assert CaptionTable(table, caption_column="title_multi_objects").captions(0) == ("two",)
    assert not caplog.text


def test_faulty_entries_stop_retrieval_or_are_counted(root: Path) -> None:
    table = write(root, "t.csv", "filepath,title", "red.png,red", "blue.png,")
    with pytest.raises(ValueError, match=r"line 3: its title is .*; correct it"):
        captions(table)
    opened = open_captions(table, on_error="skip")
    assert len(opened.source) == 1
    assert opened.facts.endswith(", 1 faulty entries skipped")


def test_karpathys_json_has_no_columns(root: Path) -> None:
    image = {"filename": "red.png", "sentences": [{"raw": "red"}]}
    path = write(root, "t.json", json.dumps({"images": [image]}))
    with pytest.raises(ValueError, match=r"t\.json has no columns: leave out --caption_column"):
        captions(path, caption_column="title")


def test_the_command_knows_the_protocols() -> None:
    for protocol in CAPTION_COLUMN_OF:
        asked, *_ = parse_arguments(["retrieval", "t.csv", "--model", "m", "--protocol", protocol])
        assert asked.protocol == protocol
        assert asked.split is None
