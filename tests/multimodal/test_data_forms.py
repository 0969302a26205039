"""Forms of conversation files, and batches of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cmid.boxes import around
from cmid.data.resumable import SampleDataset
from cmid.multimodal.boxes import BoxForm
from cmid.multimodal.conversation import Conversation
from cmid.multimodal.data import (
    BenchQuestions,
    ConversationFile,
    ConversationSource,
    Example,
    Mixture,
    MultimodalData,
    RsvqaQuestions,
)
from cmid.multimodal.data.datamodule import ConversationView, collate
from cmid.multimodal.data.sampling import LengthSampler


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.tif", "7.tif"):
        Image.new("RGB", (8, 4)).save(tmp_path / name)
    return tmp_path


def written(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


CAPTION = [("Describe the image.", "A Pier.")]
PAIR, SAID = {"Question": "Q?", "Answer": "A."}, [("Q?", "A.")]
BOX = "[0.1,0.2,0.3,0.4]"


@pytest.mark.parametrize(
    ("row", "turns"),
    [
        ({"name": "a.png", "info": {"location": ["x", "y"]}, "cap": "A Pier."}, CAPTION),
        ({"image": "a.png", "caption": "A Pier."}, CAPTION),
        ({"filename": "a.png", "conv": PAIR}, SAID),
        ({"name": "a.png", "conv": [PAIR, PAIR]}, SAID * 2),
        ({"img": "b", "question": "Where?", "answer": BOX}, [("Where?", BOX)]),
        (PAIR, SAID),
        ({"instruction": "Add.", "input": "1 1", "output": "2"}, [("Add.\n1 1", "2")]),
    ],
)
def test_published_forms_are_read(row: Any, turns: Any, folder: Path) -> None:
    source = ConversationFile(written(folder / "data.json", {"data": [row]}))
    example = source.read(0)
    (conversation,) = example.conversations
    said = [(t.question.removeprefix("<image>\n"), t.answer) for t in conversation.turns]
    assert said == turns
    alone = "Question" in row or "instruction" in row
    assert len(example.images) == conversation.num_images == int(not alone)


def test_files_of_other_editors_are_read_or_named(folder: Path) -> None:
    said = "a pier\u2028with \x85 ships"  # line ends to some, but not to JSON
    lines = [json.dumps({"image": "a.png", "caption": text}, ensure_ascii=False) for text in "xy"]
    lines.append(json.dumps({"image": "a.png", "caption": said}, ensure_ascii=False))
    path = folder / "data.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    source = ConversationFile(path)
    assert [source.read(n).conversations[0].turns[0].answer for n in range(3)] == ["x", "y", said]
    path.with_suffix(".json").write_bytes(b"\xef\xbb\xbf[" + ",".join(lines).encode() + b"]")
    assert len(ConversationFile(path.with_suffix(".json"))) == 3
    path.write_text("\n".join([*lines, "{"]), encoding="utf-8")
    with pytest.raises(ValueError, match=r"data\.jsonl: line 4 is not JSON"):
        ConversationFile(path)
    path.write_bytes('{"image": "a.png", "caption": "é"}'.encode("latin-1"))
    with pytest.raises(ValueError, match=r"data\.jsonl, line 1: .* save it as UTF-8"):
        ConversationFile(path)


def test_missing_images_and_empty_texts_are_named_and_counted(folder: Path) -> None:
    good = {"image": "a.png", "question": "Q?", "answer": "A."}
    faulty = [{**good, "image": f"gone{n}.png"} for n in range(5)] + [{**good, "answer": " "}]
    path = written(folder / "data.json", [good, *faulty])
    with pytest.raises(ValueError, match=r"entry 1: there is no image .*gone0.png \(6 faulty"):
        ConversationFile(path)
    with pytest.warns(UserWarning, match="5 entries .*gone0.png, .*gone2.png, ..."):
        source = ConversationFile(path, on_error="skip")
    assert dict(source.skipped) == {"there is no image": 5, "a question or an answer is empty": 1}


def test_conversations_about_one_image_are_one_example(folder: Path) -> None:
    asked = [{"image": "a.png", "question": f"Q{k}?", "answer": str(k)} for k in range(5)]
    other, alone = {"image": "b.tif", "question": "Q?", "answer": "b"}, {**PAIR}
    path = written(folder / "data.json", [*asked[:3], other, alone, alone, *asked[3:]])
    assert len(ConversationFile(path)) == 8
    source = ConversationFile(path, per_image=3)
    assert [len(source.read(k).conversations) for k in range(len(source))] == [3, 1, 1, 1]
    assert [source.length(k) for k in range(len(source))] == [36, 11, 4, 4]

    def answers(seed: int | None) -> set[str]:
        generator = None if seed is None else np.random.default_rng(seed)
        found = source.read(0, generator=generator).conversations
        return {str(each.turns[0].answer) for each in found}

    assert answers(None) == answers(None)
    assert all(len(answers(seed)) == 3 for seed in range(20))
    assert set().union(*map(answers, range(20))) == set("01234")
    with pytest.raises(ValueError, match="per_image 0"):
        ConversationFile(path, per_image=0)


def test_rsvqa_is_joined_by_number(folder: Path) -> None:
    def question(number: int, text: str, answer: int) -> dict[str, Any]:
        return {"id": number, "img_id": 7, "question": text, "answers_ids": [answer]}

    unused = {"id": 4, "active": False}
    questions = [question(3, "How many?", 12), unused, question(5, "What area?", 10)]
    answers = [{"id": 10, "answer": "0m2"}, {"id": 12, "answer": 4}]
    for part, rows in (("questions", questions), ("answers", answers), ("images", [{"id": 7}])):
        written(folder / f"LR_split_train_{part}.json", {part: rows})
    source = RsvqaQuestions(folder)
    pairs = [source.read(index).conversations[0].turns[0] for index in range(len(source))]
    assert [turn.answer for turn in pairs] == ["4", "0m2"]
    assert pairs[0].question == "<image>\nHow many?"


def test_lhrs_bench_keeps_letters(folder: Path) -> None:
    pair = {"question": "What?", "choices": "A. sea B. land", "answer": "B.", "type": [1]}
    pairs = [pair, {**pair, "answer": "?"}]
    bench = {"qtype": [], "data": [{"filename": "a.png", "qa_pairs": pairs}]}
    path = written(folder / "qa.json", bench)
    with pytest.raises(ValueError, match="image 0, question 1: its answer '\\?'"):
        BenchQuestions(path)
    turn = BenchQuestions(path, on_error="skip").read(0).conversations[0].turns[0]
    assert (turn.question, turn.answer) == ("<image>\nWhat? A. sea B. land", "B")


@pytest.mark.parametrize(
    ("fit", "seen"),
    [
        ("squash", "[0.20,0.50,0.40,1.00]"),
        ("pad", "[0.20,0.50,0.40,0.75]"),
        ("crop", "[0.00,0.50,0.30,1.00]"),
    ],
)
def test_boxes_follow_the_image_into_the_square(fit: Any, seen: str, folder: Path) -> None:
    """An image of 8 x 4 pixels; [VQA] is no box."""
    asked, said = "[VQA] At [0.20,0.50,0.40,1.00]?", "{<0.2><0.5><0.4><1.0>|<0>}"
    row = {"image": "a.png", "question": asked, "answer": said}
    source = ConversationFile(written(folder / "data.json", [row]))
    sample = ConversationView(16, fit).sample(source, 0, None)
    (turn,) = sample["conversations"][0].turns
    assert turn.question == f"<image>\n[VQA] At {seen}?"
    corners = BoxForm().parse(str(turn.answer))
    assert corners is not None
    expected = BoxForm().parse(seen)
    assert expected is not None
    np.testing.assert_allclose(around(corners[0]), around(expected[0]), atol=0.011)


def test_boxes_of_another_grid_are_an_error_and_not_of_no_overlap(folder: Path) -> None:
    row = {"image": "a.png", "question": "[VG] Where?", "answer": "{<10><20><50><60>|<30>}"}
    path = written(folder / "data.json", [row, {"question": "Sort [4,3,2,9].", "answer": "later"}])
    with pytest.raises(
        ValueError, match=r"data.json: entry 0: a box .*boxes.cells.*: \[10,20,50,60,30\]"
    ):
        ConversationFile(path)
    assert len(ConversationFile(path, boxes=BoxForm(cells=100))) == 2
    sticking_out = {**row, "answer": "{<-0.1><0.2><0.3><0.3>|<45>} and [0.00,0.2,1.0,1.00]"}
    assert len(ConversationFile(written(folder / "data.json", [sticking_out]))) == 1
    with pytest.raises(ValueError, match=r"\[0,0,1.2,1\]"):
        ConversationFile(written(folder / "data.json", [{**row, "answer": "[0,0,1.2,1]"}]))


def test_boxes_that_a_crop_cuts_off_are_not_taught(folder: Path) -> None:
    """Of 8 x 4 pixels, the middle half of the width is seen: from 0.25 to 0.75."""
    out, edge, inside = "[0.00,0.50,0.10,1.00]", "[0.00,0.50,0.26,1.00]", "[0.20,0.50,0.40,1.00]"
    pairs = [
        ("Where is it?", out),
        ("Where is it?", f"{inside}, {edge}"),
        ("Where is it?", "{<0.00><0.50><0.10><1.00>|<30>}"),
        (f"What is at {out}?", "a ship"),
        ("Where is it?", inside),
        ("Is it there?", "yes"),
    ]
    rows = [{"image": "a.png", "question": asked, "answer": said} for asked, said in pairs]
    source = ConversationFile(written(folder / "data.json", rows), per_image=6)
    counts = {}
    for fit in ("squash", "pad", "crop"):
        sample = ConversationView(16, fit).sample(source, 0, None)  # type: ignore[arg-type]
        counts[fit] = sample["left_out"]
    assert counts == {"squash": 0, "pad": 0, "crop": 4}
    answers = [each.turns[-1].answer for each in sample["conversations"]]
    assert answers == ["[0.00,0.50,0.30,1.00]", "yes"]
    sample["skipped"] = ""
    assert collate([sample, sample])["left_out"] == 8


class Numbers(ConversationSource):
    """Texts alone, of which the answer tells the number."""

    def __init__(self, count: int, name: str) -> None:
        self.count, self.name = count, name

    def __len__(self) -> int:
        return self.count

    def read(self, index: int, *, generator: Any = None) -> Example:
        said = Conversation.of([("q" * (1 + index % 7), f"{self.name}{index}")])
        return Example((), (said,), f"{self.name}{index}")

    def length(self, index: int) -> int:
        return 1 + index % 7


def test_weights_of_sources_are_exact_and_survive_processes_and_epochs() -> None:
    mixed = Mixture([Numbers(30, "a"), Numbers(5, "b")], [1, 3], length=40)
    epochs = []
    for epoch in range(3):
        names = [mixed.of_epoch(epoch).read(index).name for index in range(40)]
        assert sum(name[0] == "a" for name in names) == 10
        epochs.append(names)
    # Three epochs take 30 of "a": each of them once, although shares of processes are shuffled.
    assert sorted(n for names in epochs for n in names if n[0] == "a") == sorted(
        f"a{k}" for k in range(30)
    )
    view = ConversationView(8, "squash")
    rows = []
    for rank in range(2):
        data = MultimodalData(mixed, size=8, batch_size=4, num_workers=0)
        dataset = SampleDataset(mixed, view)
        sampler = data.sampler(dataset, num_replicas=2, rank=rank, seed=0, drop_last=True)
        sampler.set_epoch(1)
        rows += [dataset[item]["conversations"][0].turns[0].answer for item in sampler]
    assert sorted(rows) == sorted(epochs[1])
    with pytest.raises(ValueError, match="a weight above 0"):
        Mixture([Numbers(3, "a")], [0])


def test_batches_are_of_one_length_and_nothing_comes_twice() -> None:
    source = Numbers(70, "a")
    dataset = SampleDataset(source, ConversationView(8, "squash"))
    batches: dict[int, list[list[int]]] = {}
    for rank in range(2):
        sampler = LengthSampler(
            dataset, batch_size=4, batches=4, num_replicas=2, rank=rank, seed=3, drop_last=True
        )
        indices = [index for _, index in sampler]
        assert len(indices) == len(sampler) == 32
        batches[rank] = [indices[k : k + 4] for k in range(0, 32, 4)]
        sampler.start = 8
        assert [index for _, index in sampler] == indices[8:]
    together = [a + b for a, b in zip(batches[0], batches[1], strict=True)]
    assert len({index for batch in together for index in batch}) == 64
    spread = [np.ptp([source.length(index) for index in batch]) for batch in together]
    assert np.mean(spread) <= 2
    with pytest.raises(ValueError, match="does not know the lengths"):
        MultimodalData(Mixture([Unknown(8, "a")]), size=8, length_groups=2)


class Unknown(Numbers):
    def length(self, index: int) -> Any:
        return None
