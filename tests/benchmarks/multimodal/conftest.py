"""A small RSVQA."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.multimodal.files import pictures, write


@pytest.fixture
def rsvqa(tmp_path: Path) -> Path:
    """Two images; what is not active leaves gaps in the numbers."""
    pictures(tmp_path, "7.tif", "8.tif")
    asked = [
        (10, 7, "presence", "Is there water?", "yes"),
        (11, 7, "count", "How many roads?", "3"),
        (13, 8, "presence", "Is there a road?", "no"),
        (14, 8, "area", "What is the area of water?", "352m2"),
        (15, 8, "rural_urban", "Rural or urban?", "rural"),
    ]
    questions = [
        {"id": number, "img_id": image, "type": kind, "question": text, "answers_ids": [number * 2],
         "active": True}
        for number, image, kind, text, _ in asked
    ]  # fmt: skip
    answers = [{"id": number * 2, "answer": true, "active": True} for number, *_, true in asked]
    questions.insert(2, {"id": 12, "active": False})
    write(tmp_path / "LR_split_test_questions.json", {"questions": questions})
    write(tmp_path / "LR_split_test_answers.json", {"answers": answers[::-1]})
    return tmp_path
