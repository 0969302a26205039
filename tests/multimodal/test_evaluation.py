"""Models under test on generated scenes: their scores beside those of a guesser."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("transformers", reason="extra multimodal is not installed")

from cmid.boxes import around
from cmid.evaluation.answers import Question
from cmid.multimodal.data.scenes import BOXES, FURTHER, KINDS
from cmid.multimodal.evaluation.asking import OwnModel
from cmid.multimodal.evaluation.measuring import Outcome, evaluate
from cmid.multimodal.evaluation.picture import paint_answers
from cmid.multimodal.evaluation.suite import Suite, make_suite, scene_suite


class Saying:
    """A model that says what a test decides."""

    name, fit, bands = "said", "squash", 3

    def __init__(self, say: Callable[[Question], str]) -> None:
        self.say = say

    def answer(self, questions: Sequence[Question], told: Any = None) -> list[str]:
        return [self.say(question) for question in questions]


@pytest.fixture(scope="module")
def suite() -> Suite:
    return scene_suite(12, kinds=(*KINDS, *FURTHER), size=48, train_scenes=40)


def values(outcome: Outcome) -> dict[str, float]:
    return {f"{score.task} {score.name}": score.value for score in outcome.scores}


def test_the_truth_is_right_in_every_task(suite: Suite, tmp_path: Path) -> None:
    outcome = evaluate(Saying(lambda question: question.true), suite)
    assert {score.task for score in outcome.scores} == {*KINDS, *FURTHER}
    found = values(outcome)
    assert found.pop("count mean error") == 0
    assert found.pop("honesty denied of the present") == 0
    assert found.pop("caption CIDEr", 10.0) > 1  # all references count, said is one
    # Numbers of boxes are whole: small objects lose some of their overlap.
    assert all(found.pop(name) > 0.7 for name in [*found] if "IoU" in name)
    assert [*found.values()] == pytest.approx([1.0] * len(found), abs=1e-6), found
    assert all(score.unreadable == 0 for score in outcome.scores)
    outcome.write(tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "predictions.jsonl").open()]
    assert len(lines) == len(suite.questions)
    assert all(line["right"] for line in lines if "overlaps" not in line)
    assert all(line["answer"] and line["question"] for line in lines)
    assert sum(line["task"] == "choice" for line in lines) == 4 * 12
    scores = json.loads((tmp_path / "scores.json").read_text())["scores"]
    assert all(
        row["low"] <= row["value"] <= row["high"] for row in scores if row["low"] is not None
    )


def test_a_guesser_stands_beside_every_score(suite: Suite) -> None:
    outcome = evaluate(Saying(suite.blind.answer), suite, unseen=True)
    for other in (outcome.blind, outcome.unseen):
        np.testing.assert_equal([s.value for s in outcome.scores], [s.value for s in other])
    found = values(outcome)
    # One letter is never right in all rotations.
    assert found["choice circular"] == 0
    assert found["classification accuracy"] < 0.4
    chance = {f"{score.task} {score.name}": score.chance for score in outcome.scores}
    assert chance["classification accuracy"] == pytest.approx(0.1)
    assert chance["choice circular"] == pytest.approx(4**-4)
    assert math.isnan(chance["grounding mean IoU"])
    table = outcome.table()
    assert table.head[-3:] == ("blind", "chance", "grey image")
    assert all(len(row.cells) == len(table.head) - 1 for row in table.rows)


def test_silence_is_wrong_and_unreadable(suite: Suite) -> None:
    outcome = evaluate(Saying(lambda question: ""), suite)
    found = values(outcome)
    assert math.isnan(found.pop("count mean error"))
    assert set(found.values()) == {0.0}
    assert all(score.unreadable == 1 for score in outcome.scores)


def test_boxes_lie_in_the_image_that_the_model_saw() -> None:
    """Of a wide image a cropping model sees the middle: its boxes are brought back."""
    corners = np.array([[0.4, 0.2], [0.6, 0.2], [0.6, 0.8], [0.4, 0.8]])
    asked = Question(
        "grounding", "box", "Where?", ("",), "a", torch.zeros(3, 10, 20, dtype=torch.uint8),
        boxes=(corners,), read_boxes=BOXES.parse,
    )  # fmt: skip
    seen = BOXES.write(np.array([[0.3, 0.2], [0.7, 0.8]]))
    model = Saying(lambda question: seen)
    asked_suite = make_suite("boxes", [asked])
    assert values(evaluate(model, asked_suite))["grounding mean IoU"] == pytest.approx(
        0.5, abs=0.03
    )
    model.fit = "crop"
    assert values(evaluate(model, asked_suite))["grounding mean IoU"] > 0.95


@pytest.mark.parametrize(
    ("fit", "seen"),
    [("squash", "[20,50,40,99]"), ("pad", "[20,50,40,74]"), ("crop", "[0,50,30,99]")],
)
def test_boxes_of_questions_follow_the_image_into_the_square(fit: Any, seen: str) -> None:
    """As they do in training; the blind guesser is asked in the same words as ever."""
    asked = Question(
        "region", "class", "[Identify] What is at [20,50,40,99]?", ("ship",), "a",
        torch.zeros(3, 10, 20, dtype=torch.uint8), ("ship", "car"), move_boxes=BOXES.moved,
    )  # fmt: skip
    read: list[str] = []
    model = Saying(lambda question: read.append(question.prompt) or "ship")
    model.fit = fit
    outcome = evaluate(model, make_suite("regions", [asked]))
    found, wanted = (
        around(BOXES.parse(text)[0]) for text in (read[0].removeprefix("[Identify]"), seen)
    )
    np.testing.assert_allclose(found, wanted, atol=0.011)
    assert outcome.blind[0].value == 1


def test_scenes_and_instructions_know_how_their_boxes_move(suite: Suite) -> None:
    region = next(each for each in suite.questions if each.task == "region")
    assert region.move_boxes is not None
    moved = region.move_boxes(region.text, lambda corners: 0 * corners)
    assert moved == "[Identify] What is at [0,0,0,0]?"


def test_a_model_of_four_bands_is_asked_about_rasters(
    small: Callable[..., Any], tmp_path: Path
) -> None:
    rasterio = pytest.importorskip("rasterio", reason="extra geo is not installed")
    paths = []
    for number, count in enumerate((4, 4, 5)):
        paths.append(tmp_path / f"{number}.tif")
        shape = {"count": count, "height": 20, "width": 30, "dtype": "uint16"}
        with rasterio.open(paths[-1], "w", driver="GTiff", **shape) as file:
            file.write(np.random.default_rng(number).integers(0, 9000, (count, 20, 30), "uint16"))
    model = small(tower={"in_chans": 4})
    asked = [
        Question("task", "class", "Is there a ship?", ("yes",), path.name, path, ("yes", "no"))
        for path in paths
    ]
    own = OwnModel(model, name="four")
    outcome = evaluate(own, make_suite("four", asked[:2]), unseen=True)
    assert outcome.answers == model.generate([asked[0].text] * 2, paths[:2], max_tokens=20)
    paint_answers(outcome, tmp_path / "answers.png")
    assert np.asarray(Image.open(tmp_path / "answers.png")).std() > 10
    with pytest.raises(ValueError, match=r"2.tif: .*2.tif has 5 bands, the model takes 4"):
        evaluate(own, make_suite("four", asked[2:]))


def test_a_question_may_be_about_two_images(
    small: Callable[..., Any], pictures: list[torch.Tensor], tmp_path: Path
) -> None:
    model = small()
    pairs = [(pictures[0], pictures[3]), (pictures[0], pictures[0])]
    asked = [
        Question("change", "class", "What has changed?", ("yes",), f"{number}", pair, ("yes", "no"))
        for number, pair in enumerate(pairs)
    ]
    outcome = evaluate(OwnModel(model, name="small"), make_suite("change", asked), unseen=True)
    said = model.generate(["What has changed?"] * 2, pairs, max_tokens=20)
    assert outcome.answers == said
    assert said[0] != said[1], "the second image is seen"
    paint_answers(outcome, tmp_path / "answers.png")
    drawn = np.asarray(Image.open(tmp_path / "answers.png"))[12:132, 12:252]
    np.testing.assert_allclose(drawn[:, :120].mean(), pictures[0].float().mean(), atol=6)
    np.testing.assert_allclose(drawn[:, 120:].mean(), pictures[3].float().mean(), atol=6)


def test_answers_come_back_in_the_order_of_the_questions(
    small: Callable[..., Any], suite: Suite
) -> None:
    model = small()
    questions = [each for each in suite.questions if each.kind in ("class", "count")][::16]
    together = OwnModel(model, name="small", batch_size=4).answer(questions)
    alone = [OwnModel(model, name="small").answer([question])[0] for question in questions]
    assert together == alone
    assert len(set(together)) > 1


def test_a_suite_without_questions_is_refused() -> None:
    with pytest.raises(ValueError, match="suite nothing has no questions"):
        make_suite("nothing", [])
