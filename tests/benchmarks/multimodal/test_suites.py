"""Suites by the command: models under test, and what is refused."""

from __future__ import annotations

import base64
import io
import json
import re
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("transformers", reason="extra multimodal is not installed")

from benchmarks.commands.evaluate_multimodal import main
from benchmarks.multimodal.config import SuiteConfig
from benchmarks.multimodal.evaluation import open_suite
from benchmarks.multimodal.files import Entries
from benchmarks.multimodal.instructions import read_instructions
from cmid.evaluation.answers import judge
from cmid.multimodal.evaluation.asking import open_answers
from cmid.multimodal.instructions.making import make_instructions
from cmid.multimodal.instructions.settings import LabelledConfig, WritingConfig
from cmid.vision_language.judging.config import AskingConfig
from tests.benchmarks.multimodal.files import pictures, write

OBJECTS = ("ship", "plane", "storage tank", "bridge", "car")


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[Any]]]:
    """Address of a server that knows forests alone, and what it was asked: contents of messages."""
    pytest.importorskip("openai", reason="extra scoring is not installed")
    contents: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            contents.append(body["messages"][-1]["content"])
            message = {"role": "assistant", "content": "It is a forest."}
            data = json.dumps({
                "id": "1", "object": "chat.completion", "created": 0, "model": body["model"],
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            }).encode()  # fmt: skip
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    yield f"http://127.0.0.1:{server.server_port}/v1", contents
    server.shutdown()
    server.server_close()


def test_a_model_behind_an_endpoint_is_measured_by_the_same_command(
    endpoint: tuple[str, list[Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, contents = endpoint
    pictures(tmp_path / "data", "forest/1.png", "forest/2.png", "beach/1.png")
    arguments: Sequence[str] = [
        "stub", "--endpoint", url, "--suite", "classification", "--data", str(tmp_path / "data"),
        "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    main(arguments)
    assert len(contents) == 3
    image, text = contents[0]
    assert image["image_url"]["url"].startswith("data:image/png;base64,")
    assert "beach, forest" in text["text"]
    printed = capsys.readouterr().out
    assert re.search(r"classification \| accuracy +\| 3 +\| 0\.667", printed)
    scores = json.loads((tmp_path / "out/scores.json").read_text())
    assert scores["classes"]["classification"] == {
        "beach": {"count": 1, "value": 0, "given": {"forest": 1}},
        "forest": {"count": 2, "value": 1, "given": {"forest": 2}},
    }
    accuracy = scores["scores"][0]
    assert accuracy["value"] == pytest.approx(2 / 3)
    assert accuracy["chance"] == 0.5
    assert accuracy["blind"] == pytest.approx(2 / 3)
    assert any("blind answers: " in fact for fact in scores["facts"])
    assert len((tmp_path / "out/predictions.jsonl").read_text().splitlines()) == 3
    assert (tmp_path / "out/answers.png").is_file()
    assert "openai:stub" not in printed


def test_captions_are_compared_with_all_references(tmp_path: Path) -> None:
    pictures(tmp_path, "a.png", "b.png")
    rows = [
        {"image": f"{name}.png", "split": split, "captions": ["A farm .", "There is a farm ."]}
        for name, split in (("a", "train"), ("b", "test"))
    ]
    write(tmp_path / "captions.jsonl", "\n".join(map(json.dumps, rows)))
    asked = SuiteConfig(
        "captions", tmp_path / "captions.jsonl", split="test", train_split="train", out=tmp_path
    )
    suite = open_suite(asked)
    (question,) = suite.questions
    assert judge(question, "there is a farm").right
    assert not judge(question, "there is a").right
    assert suite.blind.answer(question) == "A farm ."
    assert any("not computed" in fact for fact in suite.facts)


def test_instructions_of_a_labelled_set_become_questions(tmp_path: Path) -> None:
    for number in range(8):
        pictures(tmp_path, f"images/{number}.png")
    things = [(number, name) for number in range(8) for name in range(1 + number % 4)]
    coco = {
        "images": [{"id": n, "file_name": f"{n}.png", "width": 20, "height": 10} for n in range(8)],
        "categories": [{"id": n, "name": name} for n, name in enumerate(OBJECTS)],
        "annotations": [
            {"id": place, "image_id": number, "category_id": name, "bbox": [2 * name, 1, 8, 6]}
            for place, (number, name) in enumerate(things)
        ],
    }
    write(tmp_path / "coco.json", coco)
    out = tmp_path / "made/test.json"
    labelled = LabelledConfig(data=tmp_path / "coco.json", kind="coco", images=tmp_path / "images")
    make_instructions(labelled, WritingConfig(out=out, turns=3, box_cells=100), command="")
    entries = Entries((out.parent,))
    found = [*read_instructions(out, entries, cells=100)]
    tasks = {question.task for question in found}
    assert {"presence", "count", "grounding", "honesty", "region", "caption"} <= tasks
    for question in found:
        assert judge(question, question.true).right, question
        assert "<image>" not in question.prompt
    region = next(question for question in found if question.task == "region")
    assert "[0,0,0,0]" in region.move_boxes(region.text, lambda corners: 0 * corners)
    assert {q.among for q in found if q.task == "presence"} <= {("yes", "no"), ("no", "yes")}
    assert len({bool(q.answers) for q in found if q.task == "honesty"}) == 2
    captions = [question.image for question in found if question.task == "caption"]
    assert len(captions) == len({*captions})
    asked = SuiteConfig("instructions", out, train=out, cells=100, out=tmp_path)
    suite = open_suite(asked)
    choices = [each for each in suite.questions if each.task == "object_choice"]
    assert {each.true for each in choices[:4]} == {*"ABCD"}
    assert all(suite.blind.answer(question) for question in suite.questions)
    rows = json.loads(out.read_text())
    for change, reason in (
        ({"image": []}, "entry 0: it has no image"),
        ({"image": [rows[0]["image"]] * 2}, "entry 0: a conversation names 1 places"),
        ({"tasks": []}, "entry 0: it names 0 tasks for"),
    ):
        write(out, [{**rows[0], **change}, *rows[1:]])
        with pytest.raises(ValueError, match=reason):
            list(read_instructions(out, entries))
    write(out, rows)
    with pytest.raises(ValueError, match=r"box \[.*\] is outside of an image of 1 cells .*--cells"):
        list(read_instructions(out, entries))
    write(out, [{"image": rows[0]["image"], "conversations": []}])
    with pytest.raises(ValueError, match="entry 0: no 'tasks'"):
        list(read_instructions(out, entries))


def test_models_of_others_are_told_the_form_of_answers_about_scenes(
    endpoint: tuple[str, list[Any]], tmp_path: Path
) -> None:
    url, contents = endpoint
    kinds = ["grounding", "oriented", "honesty", "classification", "presence", "count", "region"]
    main(
        ["stub", "--endpoint", url, "--suite", "scenes", "--count", "1", "--scene_size", "48",
         "--tasks", *kinds, "--out", str(tmp_path / "out")]
    )  # fmt: skip
    said = [content[-1]["text"] for content in contents]
    assert len(said) == len(kinds)
    upright = [text for text in said if "[x0,y0,x1,y1] in whole numbers from 0 to 99" in text]
    assert len(upright) == 3
    assert sum("Answer with a box {<x0><y0><x1><y1>|<degrees>}" in text for text in said) == 1
    assert any("alone: yes, no." in text for text in said)
    assert any("alone: residential" in text or "airport, " in text for text in said)
    assert any(text.endswith("there? Answer with a number.") for text in said)
    own = open_suite(SuiteConfig(tasks=("grounding",), count=1, scene_size=48, out=tmp_path))
    assert "Answer" not in own.questions[0].prompt, "ours are asked as they were taught"


def test_changes_between_two_images_are_asked_of_both(
    endpoint: tuple[str, list[Any]], tmp_path: Path
) -> None:
    for number in range(4):
        mask = np.zeros((20, 20), dtype=np.uint8)
        mask[:9, :9] = number % 2
        for folder, colour in (("A", 40), ("B", 200)):
            (tmp_path / f"set/{folder}").mkdir(parents=True, exist_ok=True)
            path = tmp_path / f"set/{folder}/{number}.png"
            Image.new("RGB", (20, 20), (colour,) * 3).save(path)
        (tmp_path / "set/label").mkdir(exist_ok=True)
        Image.fromarray(mask).save(tmp_path / f"set/label/{number}.png")
    out = tmp_path / "change.json"
    labelled = LabelledConfig(data=tmp_path / "set", kind="change", changed="buildings")
    make_instructions(labelled, WritingConfig(out=out), command="")
    url, contents = endpoint
    main(
        ["stub", "--endpoint", url, "--suite", "instructions", "--data", str(out),
         "--grey_image", "--out", str(tmp_path / "out")]
    )  # fmt: skip
    scores = json.loads((tmp_path / "out/scores.json").read_text())["scores"]
    assert {score["task"] for score in scores} == {"change", "change_caption"}
    assert {score["chance"] for score in scores if score["score"] == "accuracy"} == {0.5}
    assert "BLEU-4" in {score["score"] for score in scores if score["task"] == "change_caption"}
    for content in contents[: len(contents) // 2]:
        first, second, text = content
        decoded = [
            np.asarray(Image.open(io.BytesIO(base64.b64decode(each["image_url"]["url"][22:]))))
            for each in (first, second)
        ]
        assert [int(image.mean()) for image in decoded] == [40, 200]
        assert "<image>" not in text["text"]
    assert all(len(content) == 3 for content in contents), "grey images are as many"
    questions = [*read_instructions(out, Entries((out.parent,)))]
    assert all(judge(question, question.true).right for question in questions)
    assert {q.among for q in questions if q.task == "change"} == {("yes", "no")}


def test_classes_of_folders_are_named_as_models_are_taught_them(tmp_path: Path) -> None:
    pictures(tmp_path, "SeaLake/1.png", "AnnualCrop/1.png")
    suite = open_suite(SuiteConfig("classification", tmp_path, out=tmp_path))
    assert {question.true for question in suite.questions} == {"sea lake", "annual crop"}
    suite = open_suite(SuiteConfig("classification", tmp_path, class_names="eurosat", out=tmp_path))
    crop = suite.questions[0]
    assert crop.among == ("annual crop", "sea or lake")
    assert "annual crop, sea or lake" in crop.prompt
    for answer in ("annual crop", "Annual Crop", "AnnualCrop", "It is an annual_crop.",
                   "An AnnualCrop image", "ANNUALCROP"):  # fmt: skip
        assert judge(crop, answer).right, answer
    for answer in ("crop", "AnnualCrop or sea or lake", "annual crops"):
        assert not judge(crop, answer).right, answer


def test_options_without_a_meaning_are_refused_and_parts_are_kept_apart(
    rsvqa: Path, tmp_path: Path
) -> None:
    for suite, options, reason in (
        ("classification", {"split": "nonsense"}, "--split has no meaning for --suite classificat"),
        ("choice", {"train_split": "train"}, "--train_split has no meaning for --suite choice"),
        ("instructions", {"prompts": "nova"}, "--prompts .* it is of classification, vqa, ground"),
        ("vqa", {"cells": 100}, "--cells has no meaning for --suite vqa"),
        ("grounding", {"scene_size": 96}, "--scene_size has no meaning"),
    ):
        with pytest.raises(ValueError, match=reason):
            SuiteConfig(suite, rsvqa, out=tmp_path, **options)  # type: ignore[arg-type]
    for options in ({"cells": 100}, {"prompts": "nova"}, {"train": rsvqa}, {"on_error": "skip"}):
        with pytest.raises(ValueError, match="has no meaning for --suite scenes: leave it out"):
            SuiteConfig(out=tmp_path, **options)  # type: ignore[arg-type]
    itself = open_suite(SuiteConfig("vqa", rsvqa, train=rsvqa, train_split="test", out=tmp_path))
    assert "the test itself" in itself.facts[-1]
    with pytest.raises(FileNotFoundError, match=r"0 files \*_split_train_questions"):
        open_suite(SuiteConfig("vqa", rsvqa, train=rsvqa, out=tmp_path))
    for part in ("questions", "answers"):
        text = (rsvqa / f"LR_split_test_{part}.json").read_text()
        write(rsvqa / f"LR_split_train_{part}.json", text)
    known = open_suite(SuiteConfig("vqa", rsvqa, train=rsvqa, out=tmp_path))
    assert "in the training data" in known.facts[-1]
    assert any(fact.startswith("protocol: ours; ") for fact in known.facts)


def test_suites_that_make_no_sense_are_refused_in_one_line(tmp_path: Path) -> None:
    for arguments, reason in (
        (["m", "--suite", "vqa", "--out", "o"], "--data is needed"),
        (["m", "--suite", "vqa", "--data", "x", "--tasks", "count", "--out", "o"], "--tasks"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2, reason
    with pytest.raises(ValueError, match="--tasks rivers: give some of classification"):
        open_suite(SuiteConfig(tasks=("rivers",), out=tmp_path))
    with pytest.raises(ValueError, match="--beams 2 are for models of this project, which"):
        open_answers("stub", AskingConfig(), beams=2)
    large = open_suite(SuiteConfig(tasks=("urban",), count=2, scene_size=96, out=tmp_path))
    assert {question.image.shape for question in large.questions} == {(3, 96, 96)}
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        open_suite(SuiteConfig("vqa", Path("nowhere"), out=tmp_path))
