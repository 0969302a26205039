"""Judging answers: hand cases, and the ways in which published scores went wrong."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmid.boxes import box_corners
from cmid.evaluation.answers import (
    BlindAnswers,
    Question,
    box_iou,
    judge,
    matched_iou,
    measure,
    named,
    normal,
    read_letter,
    read_number,
    rotations,
    same,
)
from cmid.evaluation.answers.matching import contains

CLASSES = ("forest", "residential", "dense_residential", "storage-tanks")


def upright(x0: float, y0: float, x1: float, y1: float) -> Any:
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def numbers(text: str) -> list[Any] | None:
    """Boxes as ``x0 y0 x1 y1``, separated by semicolons."""
    try:
        return [upright(*map(float, box.split())) for box in text.split(";") if box.strip()]
    except (TypeError, ValueError):
        return None


def question(kind: Any, *answers: str, **more: Any) -> Question:
    return Question("task", kind, "what?", answers, "name", **more)


@pytest.mark.parametrize(
    ("given", "true"),
    [
        ("The Forest.", "forest"),
        ("Dense_Residential", "dense residential"),
        ("storage-tanks", "storage tanks"),
        ("three", "3"),
        ("1,000", "1000"),
        ("-5.5", "-5.5."),
        ("A", "a"),
    ],
)
def test_case_punctuation_articles_and_number_words_do_not_count(given: str, true: str) -> None:
    assert same(given, true)


def test_other_answers_are_not_the_same() -> None:
    assert not same("25", "2.5")
    assert not same("5", "-5")
    assert not same("no", "none")
    assert normal("1,2") == "1 2"


def test_an_empty_answer_is_wrong_whatever_is_asked() -> None:
    among = ("", "forest")
    asked = [
        question("exact", ""),
        question("class", "forest", among=among),
        question("choice", "forest", among=among),
        question("count", "0"),
        question("area", "0m2"),
        question("caption", "a forest"),
        question("honesty"),
        question("honesty", "a ship"),
        question("box", boxes=(upright(0, 0, 1, 1),), read_boxes=numbers),
        question("box", boxes=(), read_boxes=numbers),
    ]
    for each in asked:
        for answer in ("", " \n", ".", "?!"):
            judged = judge(each, answer)
            assert not judged.right, (each.kind, answer)
            assert not judged.readable, (each.kind, answer)


def test_part_of_a_word_or_of_an_answer_is_not_the_answer() -> None:
    """The published match of substrings: ``no`` stands in ``unknown``, an empty text in all."""
    assert not judge(question("exact", "no"), "unknown").right
    assert not judge(question("exact", "no"), "no, yes").right
    assert not contains("unknown", "no")
    assert not contains("yes", "")
    assert contains("yes, there are.", "Yes")


def test_an_answer_that_only_names_the_true_one_is_a_match_reported_as_relaxed() -> None:
    asked = question("exact", "no", among=("yes", "no"))
    for answer in ("no", "No.", "NO"):
        assert judge(asked, answer).right
    loose = "I am not sure, there may be no water but I cannot tell"
    said = [judge(asked, text) for text in ("no", "yes", loose, "yes or no")]
    assert [each.right for each in said] == [True, False, False, False]
    assert [each.readable for each in said] == [True, True, False, False]
    strict, balanced, relaxed = measure([(asked, each) for each in said])
    assert (strict.name, balanced.name, relaxed.name) == ("accuracy", "balanced", "relaxed match")
    assert (strict.value, relaxed.value, strict.unreadable) == (0.25, 0.5, 0.5)
    assert strict.chance == 0.5


def test_a_class_is_named_by_itself_or_as_the_only_one() -> None:
    assert named("It is a forest.", CLASSES) == "forest"
    assert named("dense residential", CLASSES) == "dense_residential"
    assert named("a dense residential area", CLASSES) == "dense_residential"
    assert named("residential and dense residential", CLASSES) is None
    assert named("forest or residential", CLASSES) is None
    assert named("forests", CLASSES) is None
    # No answer is forced to a class: what names none is unreadable.
    judged = judge(question("class", "forest", among=CLASSES), "a desert")
    assert not judged.right
    assert not judged.readable


@pytest.mark.parametrize(
    ("answer", "index"),
    [
        ("B", 1), ("(b)", 1), ("B.", 1), ("B. a forest", 1), ("forest", 1), ("The answer is: C", 2),
        ("A farm is here", 0), ("a", 0), ("E", None), ("forest or farm", None), ("B. a farm", None),
        ("Because it is", None), ("", None),
    ],
)  # fmt: skip
def test_letters_are_read_from_the_answer_not_from_its_first_character(
    answer: str, index: int | None
) -> None:
    assert read_letter(answer, ("farm", "forest", "beach", "desert")) == index


def test_the_letter_a_is_an_answer() -> None:
    """As an article it would be left out, and every answer would be as empty as it is."""
    asked = question("choice", "farm", among=("farm", "forest"))
    assert asked.true == "A"
    assert judge(asked, "A").right
    assert not judge(asked, "B").right


def test_a_number_is_the_only_one_of_an_answer() -> None:
    assert read_number("There are seven ships.") == 7
    assert read_number("12") == 12
    assert read_number("2 or 3") is None
    assert read_number("many") is None
    judged = judge(question("count", "4"), "five")
    assert (judged.right, judged.error) == (False, 1)
    assert judge(question("area", "352m2"), "between 100 and").readable
    assert judge(question("area", "352m2"), "900 m2").right
    assert not judge(question("area", "352m2"), "90m2").right
    for true, answer in (
        ("0m2", "0m2"), ("3m2", "between 0m2 and 10m2"), ("between 10m2 and 100m2", "64 m2"),
        ("100m2", "between 10m2 and 100m2"), ("352m2", "between 100m2 and 1000m2"),
        ("352m2", "100-1,000 m2"), ("1500m2", "more than 1000m2"), ("352m2", "200 to 400 m2"),
    ):  # fmt: skip
        assert judge(question("area", true), answer).right, (true, answer)
    for answer in ("between 50m2 and 500m2", "more than 100m2", "10m2, 20m2"):
        assert not judge(question("area", "352m2"), answer).readable, answer
    assert not judge(question("area", "352m2"), "between 10m2 and 100m2").right
    assert not judge(question("area", "1000m2"), "more than 1000m2").right
    assert not judge(question("area", "0m2"), "5m2").right


def test_overlap_is_intersection_over_union_of_fractions() -> None:
    whole, centre = upright(0, 0, 1, 1), upright(0.25, 0.25, 0.75, 0.75)
    assert box_iou(whole, centre) == pytest.approx(0.25)
    # A side of 1 added to sides in fractions, as published, makes 0.56 of it.
    assert box_iou(upright(0, 0, 0.1, 0.1), upright(0.5, 0.5, 0.6, 0.6)) == 0
    assert box_iou(upright(0, 0, 0.5, 1), upright(0, 0, 1, 1)) == 0.5
    assert box_iou(upright(0.2, 0.2, 0.2, 0.8), whole) == 0
    turned = box_corners((0.5, 0.5, 0.4, 0.4, math.pi / 4))
    square = box_corners((0.5, 0.5, 0.4, 0.4, 0.0))
    octagon = 0.16 * (2 * math.sqrt(2) - 2)
    assert box_iou(turned, square) == pytest.approx(octagon / (0.32 - octagon))


@given(st.lists(st.floats(0.01, 1), min_size=8, max_size=8))
def test_overlap_is_symmetric_and_does_not_depend_on_the_sides_of_the_image(
    sides: list[float],
) -> None:
    a, b = (upright(x, y, x + width, y + height) for x, y, width, height in (sides[:4], sides[4:]))
    wide = np.array([7.0, 3.0])
    assert box_iou(a, b) == pytest.approx(box_iou(b, a), abs=1e-9)
    assert box_iou(a * wide, b * wide) == pytest.approx(box_iou(a, b), abs=1e-6)
    assert box_iou(a, a) == pytest.approx(1)


def test_boxes_are_matched_one_to_one_in_any_order() -> None:
    one, two = upright(0, 0, 0.4, 0.4), upright(0.5, 0.5, 1, 1)
    assert matched_iou([two, one], [one, two]) == pytest.approx([1, 1])
    assert sorted(matched_iou([one, one], [one, two])) == pytest.approx([0, 1])
    asked = question("box", boxes=(one, two), read_boxes=numbers)
    assert judge(asked, "0.5 0.5 1 1; 0 0 0.4 0.4").right
    assert not judge(asked, "0 0 0.4 0.4; 0 0 0.4 0.4").right
    third = "; 0.1 0.6 0.2 0.9"
    scores = measure([(asked, judge(asked, "0.5 0.5 1 1; 0 0 0.4 0.4" + third))])
    values = {score.name: score.value for score in scores}
    assert values["precision at IoU 0.5"] == pytest.approx(2 / 3)
    assert values["recall at IoU 0.5"] == 1
    assert values["F1 at IoU 0.5"] == pytest.approx(0.8)


def test_further_boxes_are_no_further_guesses_for_one_thing() -> None:
    asked = question("box", boxes=(upright(0, 0, 0.4, 0.4),), read_boxes=numbers)
    assert judge(asked, "0 0 0.4 0.4").right
    assert not judge(asked, "0.6 0.6 1 1; 0 0 0.4 0.4").right
    assert judge(asked, "no box").overlaps == (0,)
    assert not judge(asked, "no box").readable


def test_absent_things_are_to_be_denied_and_present_ones_not() -> None:
    absent, present = question("honesty"), question("honesty", "[1,2,3,4]")
    for answer, denied in (
        ("There is no ship.", True),
        ("It isn't there.", True),
        ("[1,2]", False),
    ):
        assert judge(absent, answer).right == denied
        assert judge(present, answer).right != denied
    for said in (
        "The plane is in the upper left, not far from the hangar", "It is not far from the hangar",
        "It lies there, no doubt.", "in the centre, not only there", "not there but at [1,2,3,4]",
    ):  # fmt: skip
        assert judge(present, said).right, said
    for said in ("Not in the image.", "I can't find any ship", "The ship is not visible", "no",
                 "I do not see one", "The image shows no ship."):  # fmt: skip
        assert judge(absent, said).right, said
    assert judge(absent, absent.true).right
    scores = measure([(each, judge(each, "none")) for each in (absent, absent, present)])
    assert [score.value for score in scores] == [1, 1]
    assert [score.count for score in scores] == [2, 1]


def test_a_choice_counts_in_all_rotations_or_not_at_all() -> None:
    asked = question("choice", "c", among=("a1", "b1", "c"))
    turned = list(rotations(asked))
    assert [each.true for each in turned] == ["C", "B", "A"]
    assert {each.group for each in turned} == {"name"}
    for answers, accuracy, circular in ((["C", "B", "A"], 1, 1), (["C", "C", "C"], 1, 0)):
        judged = [(q, judge(q, text)) for q, text in zip(turned, answers, strict=True)]
        plain, all_turns = measure(judged)
        assert (plain.value, all_turns.value) == (accuracy, circular)
        assert (plain.count, all_turns.count) == (1, 1)
        assert plain.chance == pytest.approx(1 / 3)
        assert all_turns.chance == pytest.approx(1 / 27)


def test_every_question_of_an_image_counts() -> None:
    """Published: one answer a file name, the last."""
    asked = [question("exact", "yes"), question("exact", "no")]
    (score,) = measure([(each, judge(each, "no")) for each in asked])
    assert (score.count, score.value) == (2, 0.5)


def test_balanced_accuracy_is_the_mean_over_classes() -> None:
    asked = [question("class", name, among=("x", "y")) for name in ("x", "x", "x", "y")]
    plain, balanced = measure([(each, judge(each, "x")) for each in asked])
    assert (plain.value, balanced.value) == (0.75, 0.5)
    assert plain.chance == 0.5
    assert plain.unreadable == 0


def test_counts_are_scored_exactly_within_one_and_by_their_error() -> None:
    asked = question("count", "4")
    judged = [(asked, judge(asked, text)) for text in ("4", "5", "9", "x")]
    exact, near, error = measure(judged)
    assert (exact.value, near.value, error.value) == (0.25, 0.5, 2)
    assert (exact.unreadable, error.count) == (0.25, 3)


def test_a_guesser_knows_what_is_usual_for_the_same_words() -> None:
    """Planes stand at airports only: the best answer to each text is worth more than chance."""
    planes = replace(question("class", "no", among=("yes", "no")), text="Any planes?")
    houses = replace(planes, text="Any houses?", answers=("yes",))
    box = question("box", boxes=(upright(0, 0, 0.2, 0.2),), read_boxes=numbers)
    box = replace(box, task="where")
    boxes = [replace(box, boxes=(upright(0, 0, side, side),)) for side in (0.1, 0.2, 0.9)]
    known = [planes, planes, replace(planes, answers=("yes",)), houses, *boxes]
    blind = BlindAnswers(known, write_box=lambda c: " ".join(map(str, c.flatten().tolist())))
    assert blind.answer(planes) == "no"
    assert blind.answer(houses) == "yes"
    other = replace(planes, text="Any ships?", task="task")
    assert blind.answer(other) in ("yes", "no")
    assert blind.answer(replace(other, task="new")) == ""
    assert judge(box, BlindAnswers([box], write_box=lambda c: "0 0 0.2 0.2").answer(box)).right
    with pytest.raises(ValueError, match="write_box"):
        BlindAnswers([box])


def test_cumulative_iou_is_of_the_areas_of_all_questions() -> None:
    """A tenth of the image met in full, half of it in half, a fifth not read at all."""
    said = {"0 0 1 0.1": "0 0 1 0.1", "0 0 1 0.5": "0 0 1 0.25", "0 0 1 0.2": "nothing"}
    judged = []
    for true, answer in said.items():
        asked = question("box", true, boxes=tuple(numbers(true) or ()), read_boxes=numbers)
        judged.append((asked, judge(asked, answer)))
    values = {each.name: each.value for each in measure(judged)}
    assert values["cumulative IoU"] == pytest.approx((0.1 + 0.25) / (0.1 + 0.5 + 0.2))
    assert values["mean IoU"] == pytest.approx((1 + 0.5 + 0) / 3)


def test_cider_weighs_what_few_references_say() -> None:
    pytest.importorskip("pycocoevalcap", reason="extra captions is not installed")
    true = [["a farm seen from above"], ["a port seen from above"], ["a park seen from above"]]
    for said, least, most in (
        ([each[0] for each in true], 9.99, 10.01),  # the same text
        (["a seen from above"] * 3, 0.0, 2.5),  # what all say weighs nothing
        (["no word of it"] * 3, 0.0, 0.0),
    ):
        asked = [question("caption", *answers) for answers in true]
        judged = [(one, judge(one, answer)) for one, answer in zip(asked, said, strict=True)]
        values = {each.name: each.value for each in measure(judged)}
        assert least <= values["CIDEr"] <= most, said
