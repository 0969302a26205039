"""Files of candidates in all their forms, and images that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cmid.data.source import UnreadableImageError
from cmid.vision_language.judging.items import Images, Item, items_of_file, items_of_images

ROWS: list[dict[str, Any]] = [
    {"image_path": "0.png", "candidates": ["Ships.", {"text": "Äcker 畑 \ud800", "source": "m"}]},
    {"image_path": "1.png", "question": "How many?", "answer": 2, "candidates": {"a": "3"}},
    {"image_path": "0.png", "candidates": ["Ships. "], "source": "again"},
    {"image_path": "1.png", "question": "Why?", "candidates": ["", "So."]},
]
EXPECTED = [
    Item(0, "", None, {"Ships.": ["file", "again"], "Äcker 畑 ?": ["m"]}),
    Item(1, "How many?", "2", {"3": ["a"]}),
    Item(1, "Why?", None, {"So.": ["file"]}),
]


@pytest.mark.parametrize("ending", ["json", "jsonl"])
def test_rows_of_one_image_and_question_are_one_item(
    ending: str, scenes: Path, tmp_path: Path
) -> None:
    path = tmp_path / f"c.{ending}"
    lines = [json.dumps(row) for row in ROWS]
    path.write_text(f"[{','.join(lines)}]" if ending == "json" else "\n".join(lines))
    items, source, skipped = items_of_file(path, root=scenes)
    assert (items, skipped) == (EXPECTED, [f"1 x empty candidates in {path}"])
    images = Images(source)
    assert images.names == [str(scenes / "0.png"), str(scenes / "1.png")]
    assert len(set(images.digests)) == 2
    assert images.read(1).shape == (3, 48, 48)
    assert len(items_of_file(path, root=scenes, max_images=1)[0]) == 1


def test_tables_and_parquet_have_a_candidate_a_row(scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text(
        "image,question,answer,caption,source\n"
        '0.png,,,"Ships, two.",m\n0.png,,,A road.,n\n1.png,How many?,2,3,m\n'
    )
    expected = [
        Item(0, "", None, {"Ships, two.": ["m"], "A road.": ["n"]}),
        Item(1, "How many?", "2", {"3": ["m"]}),
    ]
    assert items_of_file(tmp_path / "c.csv", root=scenes)[0] == expected
    pandas = pytest.importorskip("pandas", reason="extra scoring is not installed")
    pandas.read_csv(tmp_path / "c.csv").to_parquet(tmp_path / "c.parquet")
    assert items_of_file(tmp_path / "c.parquet", root=scenes)[0][0] == expected[0]
    (tmp_path / "c.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ValueError, match=r"c\.parquet: rows: it cannot be read"):
        items_of_file(tmp_path / "c.parquet", root=scenes)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"image_path": "0.png"}, "it has none of the columns candidates"),
        ({"candidates": ["a"]}, "it has none of the columns image_path"),
        ({"image_path": " ", "candidates": ["a"]}, "its image_path is ' '"),
        ({"image_path": "0.png", "candidates": [3]}, "its candidates holds 3, no text"),
        ({"image_path": "0.png", "candidates": [{"source": "m"}]}, "holds null, no text"),
        ({"image_path": "0.png", "candidates": ["a"], "answer": "b"}, "an answer and no question"),
        ({"image_path": "0.png", "candidates": ["a"], "question": ["b"]}, "its question is"),
        ([1], "it is not an object"),
    ],
)
def test_a_faulty_row_is_named_or_skipped_and_counted(
    row: Any, reason: str, scenes: Path, tmp_path: Path
) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps([{"image_path": "0.png", "candidates": ["a", "b"]}, row]))
    with pytest.raises(ValueError, match=reason):
        items_of_file(path, root=scenes)
    items, _, skipped = items_of_file(path, root=scenes, on_error="skip")
    assert len(items) == 1
    (line,) = skipped
    assert line.startswith(f"{path}: [1]: ")


def test_two_true_answers_are_a_fault(scenes: Path, tmp_path: Path) -> None:
    rows = [{"image_path": "0.png", "question": "q", "candidates": ["c"]} for _ in range(2)]
    rows = [row | {"answer": answer} for row, answer in zip(rows, "ab", strict=True)]
    (tmp_path / "c.json").write_text(json.dumps(rows))
    with pytest.raises(ValueError, match="has two true answers"):
        items_of_file(tmp_path / "c.json", root=scenes)


def test_missing_files_and_folders_are_said(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    with pytest.raises(FileNotFoundError, match="does not exist"):
        items_of_file(path)
    path.write_text(json.dumps([{"image_path": "x.png", "candidates": ["a", "b"]}]))
    with pytest.raises(FileNotFoundError, match="name the folder of the images with --images"):
        items_of_file(path)
    path.write_text("{}")
    with pytest.raises(ValueError, match="is no JSON list"):
        items_of_file(path)
    path.write_text("[]")
    with pytest.raises(ValueError, match="names no image with candidates"):
        items_of_file(path)


def test_unreadable_images_stop_a_run_or_are_told(scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes((scenes / "0.png").read_bytes())
    (tmp_path / "b.png").write_bytes(b"no image")
    items, source = items_of_images(str(tmp_path))
    assert [item.image for item in items] == [0, 1]
    with pytest.raises(UnreadableImageError, match=r"b\.png"):
        Images(source)
    images = Images(source, on_error="skip", num_workers=1)
    assert [bool(digest) for digest in images.digests] == [True, False]
    assert len(images.unreadable) == 1
    assert len(Images(items_of_images("scenes", max_images=2)[1])) == 2
