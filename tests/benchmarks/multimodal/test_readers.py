"""Published data sets as suites: their readers on small and on broken files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers", reason="extra multimodal is not installed")

from benchmarks.multimodal.config import SuiteConfig
from benchmarks.multimodal.evaluation import open_suite
from benchmarks.multimodal.files import Entries
from benchmarks.multimodal.prompts import Prompts
from benchmarks.multimodal.readers import read_choices, read_grounding, read_vqa
from cmid.evaluation.answers import judge
from tests.benchmarks.multimodal.files import pictures, write

PLAIN = Prompts()


def test_rsvqa_is_joined_by_numbers_and_keeps_all_types(rsvqa: Path) -> None:
    found = list(read_vqa(rsvqa, PLAIN, Entries((rsvqa,)), "test"))
    assert [question.task for question in found] == [
        "presence", "count", "presence", "area", "rural_urban",
    ]  # fmt: skip
    assert [question.true for question in found] == ["yes", "3", "no", "352m2", "rural"]
    assert set(found[0].among) == {"yes", "no"}
    assert all(judge(question, question.true).right for question in found)
    assert judge(found[3], "about 900 m2").right
    assert found[0].image == rsvqa / "7.tif"
    (rsvqa / "8.tif").unlink()
    with pytest.raises(ValueError, match=r"question 13: there is no image 8 in .*--on_error skip"):
        list(read_vqa(rsvqa, PLAIN, Entries((rsvqa,)), "test"))
    entries = Entries((rsvqa,), "skip")
    assert len(list(read_vqa(rsvqa, PLAIN, entries, "test"))) == 2
    assert entries.facts() == ("3 left out: image is missing",)
    with pytest.raises(FileNotFoundError, match=r"0 files .*_split_val_questions"):
        list(read_vqa(rsvqa, PLAIN, entries, "val"))


def test_grounding_is_read_from_json_and_from_xml(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg", "b.jpg")
    rows = [
        {"img": "a.jpg", "question": "[VG] Where is the ship?", "answer": "[0.10,0.20,0.50,0.60]"},
        {"image": "a", "question": "Where is the other ship?", "answer": "[0.5,0.5,0.9,0.9]"},
    ]
    path = tmp_path / "DIOR_test.json"
    write(path, {"data": rows})
    entries = Entries((tmp_path,))
    first, second = read_grounding(path, Prompts("nova", cells=100), entries)
    assert first.text == "[DET] Where is the ship?"
    assert judge(first, "<bbox>[10,20,50,60]</bbox>").overlaps == pytest.approx((1,))
    # Both questions about an image count.
    assert first.image == second.image
    assert not judge(second, "[10,20,50,60]").right
    write(path, {"data": [{**rows[0], "answer": "[0.5,0.5,0.1,0.1]"}, rows[1]]})
    first = next(read_grounding(path, PLAIN, entries))
    assert judge(first, "[0.5,0.5,0.1,0.1]").overlaps == (0,), "a reversed box has no area"
    write(path, {"data": [rows[0], {**rows[0], "answer": "{<10><20><50><60>|<30>}"}]})
    with pytest.raises(
        ValueError, match=r"DIOR_test.json: entry 1: box \[10,20,50,60,30\] is .*--data_cells"
    ):
        open_suite(SuiteConfig("grounding", path, out=tmp_path))
    write(path, {"data": [{**rows[0], "answer": "{<10><20><50><60>|<0>}"}]})
    suite = open_suite(SuiteConfig("grounding", path, data_cells=100, out=tmp_path))
    assert judge(suite.questions[0], "[0.1,0.2,0.5,0.6]").overlaps == pytest.approx((1,))
    write(path, {"data": [{**rows[0], "answer": "here"}]})
    with pytest.raises(ValueError, match="entry 0: no box in the answer"):
        list(read_grounding(path, PLAIN, entries))
    with pytest.raises(ValueError, match=r"DIOR_test.json has no split val: name the file"):
        open_suite(SuiteConfig("grounding", path, split="val", out=tmp_path))
    thing = (
        "<object><name>ship</name><bndbox><xmin>{}</xmin><ymin>2</ymin><xmax>10</xmax>"
        "<ymax>6</ymax></bndbox><description>the {} ship</description></object>"
    )
    for name in "ab":
        write(
            tmp_path / f"Annotations/{name}.xml",
            f"<annotation><filename>{name}.jpg</filename><size><width>20</width><height>10</height>"
            f"</size>{thing.format(2, 'left')}{thing.format(4, 'red')}</annotation>",
        )
    assert len(list(read_grounding(tmp_path, PLAIN, entries, "all"))) == 4
    with pytest.raises(FileNotFoundError, match=r"test.txt does not exist.*--split all"):
        list(read_grounding(tmp_path, PLAIN, entries, "test"))
    write(tmp_path / "test.txt", "1\n2\n")
    found = list(read_grounding(tmp_path, PLAIN, entries, "test"))
    assert ["red" in question.text for question in found] == [True, False]
    assert [question.image.name for question in found] == ["a.jpg", "b.jpg"]
    np.testing.assert_allclose(found[1].boxes[0][0], [0.1, 0.2])
    write(tmp_path / "Annotations/c.xml", "<annotation>")
    with pytest.raises(ValueError, match=r"c.xml is damaged"):
        list(read_grounding(tmp_path, PLAIN, entries, "test"))


def test_choices_of_lhrs_bench_keep_the_letter_a(tmp_path: Path) -> None:
    pictures(tmp_path, "images/1.png")
    pair = {"question": "What is it?", "choices": "A. a farm B. a forest C. U.S. base",
            "answer": "A.", "type": [1, 2]}  # fmt: skip
    bench: dict[str, Any] = {"qtype": {"identity": 1, "color": 2},
             "data": [{"filename": "1.png", "qa_pairs": [pair]}]}  # fmt: skip
    write(tmp_path / "qa.json", bench)
    entries = Entries((tmp_path, tmp_path / "images"))
    (question,) = read_choices(tmp_path, PLAIN, entries)
    assert question.among == ("a farm", "a forest", "U.S. base")
    assert (question.true, question.task, question.also) == (
        "A",
        "identity",
        ("color", "all types"),
    )
    assert "A. a farm B. a forest C. U.S. base" in question.prompt
    suite = open_suite(SuiteConfig("choice", tmp_path, out=tmp_path))
    assert [each.true for each in suite.questions] == ["A", "C", "B"]
    write(
        tmp_path / "qa.json",
        {"data": [{"filename": "1.png", "qa_pairs": [{**pair, "answer": "E."}]}]},
    )
    with pytest.raises(ValueError, match=r"1.png, question 0: answer 'E.'"):
        list(read_choices(tmp_path, PLAIN, entries))
