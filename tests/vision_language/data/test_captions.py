"""Tables of captions, and the JSON of caption benchmarks."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image as PillowImage

from cmid.data.source import UnreadableImageError
from cmid.vision_language.data import CaptionTable, KarpathyCaptions


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png"):
        PillowImage.new("RGB", (8, 6)).save(tmp_path / name)
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8-sig")
    return path


def test_rows_of_one_image_are_its_captions(folder: Path) -> None:
    table = write(
        folder / "t.csv", 'id,FilePath,title\n1,a.png,"a lake, calm"\n2,b.png,sea\n3,a.png,water\n'
    )
    source = CaptionTable(table)
    assert [source.captions(i) for i in range(2)] == [("a lake, calm", "water"), ("sea",)]
    assert source[0].image.pixels.shape == (3, 6, 8)
    assert source[0].regions == ()
    with pytest.raises(IndexError):
        source[2]


def test_tabs_and_columns_by_name(folder: Path) -> None:
    table = write(folder / "t.csv", "where\tWhat\nb.png\tsea, calm\n")
    assert CaptionTable(table, path_column="where", caption_column="What").captions(0) == (
        "sea, calm",
    )
    with pytest.raises(ValueError, match=r"t\.csv: line 2: it has none of the columns filepath"):
        CaptionTable(table)


def test_faulty_rows_are_named_or_counted(folder: Path) -> None:
    table = write(folder / "t.csv", "filepath,caption\na.png,lake\n,x\nb.png, \nb.png,a,lake\n")
    with pytest.raises(ValueError, match=r"t\.csv: line 3: its filepath is '', not a text"):
        CaptionTable(table)
    source = CaptionTable(table, on_error="skip")
    assert len(source) == 1
    assert [line.split(": ")[1] for line in source.skipped] == ["line 3", "line 4", "line 5"]
    assert "quote commas" in source.skipped[2]


def test_lines_of_json(folder: Path) -> None:
    rows = [
        {"image": "a.png", "split": "train", "captions": ["one", "two"]},
        {"image": "b.png", "split": "val", "caption": "three"},
    ]
    path = write(folder / "t.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert [CaptionTable(path).captions(i) for i in range(2)] == [("one", "two"), ("three",)]
    assert CaptionTable(path, split="val").captions(0) == ("three",)
    with pytest.raises(ValueError, match=r"has no split 'test'; there are: train \(1\), val \(1\)"):
        CaptionTable(path, split="test")
    write(path, json.dumps(rows[0]) + "\n{\n[]\n")
    with pytest.raises(ValueError, match=r"t\.jsonl: line 2: it is not JSON"):
        CaptionTable(path)
    assert len(CaptionTable(path, on_error="skip").skipped) == 2


def test_missing_files(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"table of captions .*gone\.csv does not exist"):
        CaptionTable(folder / "gone.csv")
    table = write(folder / "t.tsv", "filepath\tcaption\na.png\tlake\nc.png\tsea\n")
    with pytest.raises(FileNotFoundError, match="name the folder of the images with root"):
        CaptionTable(table, root=folder / "gone")
    with pytest.raises(UnreadableImageError, match=r"c\.png"):
        CaptionTable(table)[1]


def karpathy(folder: Path, images: object) -> Path:
    return write(folder / "dataset.json", json.dumps({"images": images, "dataset": "x"}))


def test_karpathy_splits(folder: Path) -> None:
    images = [
        {"filename": "a.png", "split": "train", "sentences": [{"raw": "A lake ."}, {"raw": "b"}]},
        {"filename": "b.png", "split": "test", "sentences": [{"raw": "sea", "tokens": ["sea"]}]},
        {"filename": "a.png", "split": "val", "filepath": "", "sentences": []},
        {"filename": "a.png", "split": "train", "sentences": [{"raw": " "}, {"raw": "c"}]},
    ]
    path = karpathy(folder, images)
    assert KarpathyCaptions(path, split="test").captions(0) == ("sea",)
    with pytest.raises(ValueError, match=r"images\[2\]: it has no sentence"):
        KarpathyCaptions(path, split="val")
    with pytest.raises(ValueError, match=r"images\[3\] \(a\.png\), sentence 0: its raw is ' '"):
        KarpathyCaptions(path, split="train")
    source = KarpathyCaptions(path, on_error="skip")
    assert [source.captions(i) for i in range(len(source))] == [("A lake .", "b"), ("sea",), ("c",)]
    assert len(source.skipped) == 2
    with pytest.raises(ValueError, match=r"has no split 'x'; there are: train \(2\), test \(1\)"):
        KarpathyCaptions(path, split="x", on_error="skip")
    with pytest.raises(ValueError, match="has no list images"):
        KarpathyCaptions(write(folder / "dataset.json", "[]"))


def test_captions_of_uc_merced(shared_data: Path) -> None:
    path = shared_data / "ucm/captions.jsonl"
    lengths = {split: len(CaptionTable(path, split=split)) for split in ("train", "val", "test")}
    assert lengths == {"train": 1680, "val": 210, "test": 210}
    source = CaptionTable(path, split="test")
    assert not source.skipped
    assert Counter(len(source.captions(i)) for i in range(210)) == {5: 210}
    item = source[100]
    assert item.captions == source.captions(100)
    assert item.image.pixels.shape[0] == 3
    assert max(item.image.full_size) == 256
