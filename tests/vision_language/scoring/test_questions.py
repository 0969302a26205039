"""Questions of files and of scenes: what is read, what is left out and said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cmid.vision_language.scoring.questions import read_questions
from cmid.vision_language.scoring.scene_questions import scene_questions


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "images" / "a.png"
    path.parent.mkdir()
    Image.fromarray(np.full((8, 12, 3), 50, np.uint8)).save(path)
    return path


def write(path: Path, rows: list[Any]) -> Path:
    text = json.dumps(rows) if path.suffix == ".json" else "\n".join(map(json.dumps, rows))
    path.write_text(text)
    return path


def test_published_and_plain_forms_are_read(tmp_path: Path, picture: Path) -> None:
    rows = [
        {"image": "a.png", "question": "How many?", "answer": "2", "type": "em"},
        {"image": "a.png", "conversations": ["What?", "森林"], "type": "open_ended"},
        {
            "image": "a.png",
            "conversations": [
                {"from": "human", "value": "<image>\nWhere?"},
                {"from": "gpt", "value": "[1, 2, 3, 4]"},
            ],
            "type": "iou",
            "grid": "thousand",
        },
        {"image": "a.png", "question": "Which?"},
    ]
    for name in ("rows.json", "rows.jsonl"):
        found, skipped = read_questions(write(tmp_path / name, rows), image_root=picture.parent)
        assert not skipped
        assert [q.kind for q in found] == ["exact", "open", "iou", "exact"]
        assert [q.text for q in found] == ["How many?", "What?", "Where?", "Which?"]
        assert [q.answer for q in found] == ["2", "森林", "[1, 2, 3, 4]", None]
        assert found[2].columns == {"grid": "thousand"}
        assert found[0].pixels().shape == (3, 8, 12)


def test_parquet_carries_its_images(tmp_path: Path, picture: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    data = picture.read_bytes()
    rows = [
        {"prompt": "p", "problem": "How many?", "answer": "2", "type": "em", "image": data},
        {"prompt": "p", "problem": "Sum?", "answer": "2", "type": "math", "image": data},
    ]
    write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    (question,), skipped = read_questions(tmp_path / "rows.parquet")
    assert (question.text, question.kind) == ("How many?", "exact")
    assert torch.equal(question.pixels(), torch.full((3, 8, 12), 50, dtype=torch.uint8))
    assert [*skipped] == ["kind math: only exact, iou, partial_iou, open"]
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"rows\.parquet: it cannot be read"):
        read_questions(tmp_path / "rows.parquet")


def test_entries_that_cannot_be_asked_are_counted_by_reason(tmp_path: Path, picture: Path) -> None:
    good = {"image": "images/a.png", "question": "How many?", "answer": "2"}
    bad = [{**good, "image": "b.png"}, {**good, "image": "c.png"}, {"question": "?"}, 3]
    found, skipped = read_questions(write(tmp_path / "rows.json", [*bad, good]))
    assert len(found) == 1
    assert skipped == {"its image is missing": 2, "no image": 1, "not an object": 1}
    with pytest.raises(ValueError, match="no question that can be used: 2 x its image is missing"):
        read_questions(write(tmp_path / "rows.json", bad))


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "JSON"), ('{"a": 1}', "is no list of questions"), ("[]", "it is empty")],
)
def test_damaged_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "rows.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_questions(tmp_path / "rows.json")


def test_scenes_are_asked_what_is_true_of_them() -> None:
    questions = [*scene_questions(10, size=32, seed=3)]
    assert [q.text for q in questions] == [q.text for q in scene_questions(10, size=32, seed=3)]
    by_kind = {q.text.split()[0]: q for q in questions}
    assert {"What", "Are", "How", "Describe"} <= {*by_kind}
    assert all(q.thought and q.answer for q in questions)
    assert {q.kind for q in questions} == {"exact", "open"}
    assert {q.answer for q in questions if q.text.startswith("Are")} <= {"yes", "no"}
