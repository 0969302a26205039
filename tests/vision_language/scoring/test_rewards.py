"""Rewards: reference values, and what earns nothing though careless code would pay for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmid.vision_language.scoring.rewards import (
    box_reward,
    exact_reward,
    format_reward,
    open_ended_reward,
    overall_reward,
    partial_box_reward,
)

Example = dict[str, Any]
BOX, APART = [78, 216, 367, 456], [467, 216, 756, 456]
# A few places on a coarse grid, so that boxes often overlap or are equal; some turned, some empty.
PLACES = st.tuples(*[st.integers(0, 3)] * 4).map(
    lambda c: [100.0 * v + 10 * k for k, v in enumerate(c)]
)
BOXES = PLACES | st.tuples(PLACES, st.sampled_from([0, 30, 90])).map(lambda t: [*t[0], t[1]])
PARTS = {"exact": exact_reward, "iou": box_reward, "open": open_ended_reward}


@pytest.fixture(scope="module")
def examples(root: Path) -> list[Example]:
    """Reference values, computed with independent code."""
    return json.loads((root / "tests/data/scorers.json").read_text())["rewards"]


def said(answer: object, thought: str = "because") -> str:
    return f"<think>{thought}</think><answer>{answer}</answer>"


def boxes(answer: object, true: object, **columns: Any) -> float:
    columns = {name: [value] for name, value in columns.items()}
    return box_reward([""], [said(answer)], answer=[true], **columns)[0]


def partly(answer: object, true: object) -> float:
    return partial_box_reward([""], [said(answer)], answer=[true])[0]


def exact(answer: str, true: str) -> float:
    return exact_reward([""], [said(answer)], answer=[true])[0]


def test_all_rewards_are_the_reference_values(examples: list[Example]) -> None:
    assert {example["kind"] for example in examples} == set(PARTS)
    for one in examples:
        columns = {k: [one[k]] for k in ("score", "reference_score") if k in one}
        prompts, texts, answer = [""], [one["text"]], [one["truth"]]
        note = one["note"]
        assert format_reward(prompts, texts) == [one["format"]], note
        accuracy = PARTS[one["kind"]](prompts, texts, answer=answer, **columns)
        assert accuracy == [pytest.approx(one["accuracy"], abs=1e-6)], note
        total = overall_reward(prompts, texts, answer=answer, kind=[one["kind"]], **columns)
        assert total == [pytest.approx(one["overall"], abs=1e-6)], note


def test_a_batch_of_mixed_kinds_is_rewarded_row_by_row(examples: list[Example]) -> None:
    rows = examples[::-1] + examples
    rewards = overall_reward(
        [""] * len(rows),
        [row["text"] for row in rows],
        answer=[row["truth"] for row in rows],
        kind=[row["kind"] for row in rows],
        score=[row.get("score") for row in rows],
        reference_score=[row.get("reference_score") for row in rows],
        completion_ids=[[1, 2]] * len(rows),  # TRL gives these, and more
        trainer_state=object(),
    )
    assert rewards == pytest.approx([row["overall"] for row in rows], abs=1e-6)
    assert all(type(reward) is float and 0 <= reward <= 1 for reward in rewards)


def test_messages_are_read_like_texts() -> None:
    chats = [
        [{"role": "assistant", "content": said("B")}],
        [{"role": "assistant", "content": [{"type": "text", "text": said("B")}]}],
    ]
    assert exact_reward(["", ""], chats, answer=["b", "c"]) == [1, 0]


def test_an_empty_answer_is_never_right() -> None:
    assert [exact("", true) for true in ("B", "", ".")] == [0, 0, 0]
    assert exact(" . ", ".") == 0
    assert boxes("", [BOX]) == boxes("[]", [BOX]) == 0


def test_a_part_of_the_true_answer_is_not_right() -> None:
    assert exact("land", "farmland") == exact("farmland", "land") == 0


def test_accents_are_equal_in_either_form() -> None:
    assert exact("fore\u0302t", "for\u00eat") == 1
    assert exact("森林。", "森林。") == 1
    assert exact("foret", "for\u00eat") == 0


def test_only_one_answer_after_one_thought_has_the_format() -> None:
    right = [said("B"), said("B", "a\nb"), "<think></think>\n \n<answer>B</answer>"]
    wrong = [
        said("B") + "\n",
        said("B") + "<answer>no</answer>",
        said("B", "x<answer>no</answer>"),
        said("B</answer> C<answer>"),
        said("B", "x</think><think>y"),
        "<think>x</think> so <answer>B</answer>",
    ]
    texts = right + wrong
    assert format_reward([""] * len(texts), texts) == [1] * len(right) + [0] * len(wrong)
    answers = ["B"] * len(texts)
    assert exact_reward(answers, texts, answer=answers)[len(right) :] == [0] * len(wrong)


def test_several_boxes_earn_one_and_not_one_each() -> None:
    many = [[100 * i, 0, 100 * i + 50, 50] for i in range(6)]
    assert boxes(many, many) == partly(many, many) == 1
    total = overall_reward([""], [said(many)], answer=[many], kind=["iou"])
    assert total == [pytest.approx(1.0)]


def test_the_order_of_boxes_does_not_count_and_none_is_matched_twice() -> None:
    assert boxes([APART, BOX], [BOX, APART]) == 1
    assert boxes([BOX, BOX], [BOX, APART]) == 0.5


def test_the_matching_is_the_best_one() -> None:
    # The first answer fits both boxes; given its best fit, it would leave none for the second.
    true = [[0, 0, 100, 100], [0, 0, 100, 130]]
    assert boxes([[0, 0, 100, 104], [0, 0, 100, 64]], true) == pytest.approx((0.7 + 0.6) / 2)


def test_another_number_of_boxes_earns_nothing_or_a_part() -> None:
    assert boxes([BOX], [BOX, APART]) == boxes([BOX, APART], [BOX]) == 0
    assert partly([BOX], [BOX, APART]) == 0.5
    assert partly([BOX, APART], [BOX]) == 0.5
    assert partly("nothing", [BOX]) == 0


def test_extra_boxes_never_raise_a_reward() -> None:
    true = [BOX, APART]
    near = [78, 216, 265.85, 456]  # overlap 0.65
    for found in ([BOX, APART], [near, APART], [near, [0, 0, 1, 1]]):
        for extra in (BOX, APART, near, [0, 0, 1, 1]):
            for reward in (boxes, partly):
                assert reward([*found, extra], true) <= reward(found, true)
    assert partly([near, APART, *[BOX] * 50], true) < 0.1


@settings(deadline=None)
@given(st.lists(BOXES, max_size=4), st.lists(BOXES, min_size=1, max_size=3), BOXES)
def test_box_rewards_are_bounded_and_never_paid_for_more_boxes_than_there_are(
    found: list[list[float]], true: list[list[float]], extra: list[float]
) -> None:
    for reward in (boxes, partly):
        value = reward(found, true)
        assert 0 <= value <= 1
        assert reward(found, true[::-1]) == pytest.approx(value)
        if len(found) >= len(true):
            assert reward([*found, extra], true) <= value
    assert boxes(found, true) <= partly(found, true) + 1e-9


@settings(deadline=None)
@given(st.lists(BOXES, min_size=1, max_size=3), st.lists(BOXES, min_size=1, max_size=3))
def test_box_rewards_are_equal_on_every_grid(
    found: list[list[float]], true: list[list[float]]
) -> None:
    # A grid of thousandths of an image of 2000 x 500 pixels.
    def pixels(box: list[float]) -> list[float]:
        return [v * (2.0, 0.5)[k % 2] for k, v in enumerate(box[:4])]

    upright = [[box[:4] for box in side] for side in (found, true)]
    size = {"width": 2000, "height": 500}
    expected = boxes(*upright)
    seen, there = ([pixels(box) for box in side] for side in upright)
    assert boxes(seen, there) == pytest.approx(expected)
    grids = {"grid": "thousand", "answer_grid": "pixel"}
    assert boxes(upright[0], there, **grids, **size) == pytest.approx(expected)


@settings(deadline=None)
@given(*[st.text("aB3.<>/\n é森", max_size=20)] * 2)
def test_any_text_earns_between_nothing_and_one(text: str, true: str) -> None:
    for completion in (text, said(text), said(true)):
        (reward,) = overall_reward([""], [completion], answer=[true], kind=["exact"])
        assert 0 <= reward <= 1
        assert reward in (0, 0.3, 1)
    assert exact("", true) == 0


def test_wrong_boxes_instead_of_missing_ones_never_raise_a_reward() -> None:
    true = [BOX, APART, [0, 0, 10, 10]]
    assert partly([BOX, [800, 800, 900, 900]], true) == partly([BOX], true)


@pytest.mark.parametrize(
    "text",
    [
        "[78, 216, 367, 456]",
        "[78 216 367 456]",
        "[[78,216,367,456]]",
        "(78,216),(367,456)",
        "<|box_start|>(78, 216), (367, 456)<|box_end|>",
        '[{"bbox_2d": [78, 216, 367.0, 456], "label": "ship"}]',
        "the ship is at [78, 216, 367, 456].",
        "[78, 216, 367, 456, 0]",
        "{<78><216><367><456>|<0>}",
        "[78, 216, 367, 216, 367, 456, 78, 456]",
        "[78, 456, 367, 456, 367, 216, 78, 216]",
    ],
)
def test_one_box_can_be_written_in_many_ways(text: str) -> None:
    assert boxes(text, "[78, 216, 367, 456]") == 1
    assert boxes(text + text, "(78,216),(367,456)(78,216),(367,456)") == 1
    assert boxes("[467, 216, 756, 456]", text) == 0


@pytest.mark.parametrize(
    "text",
    [
        "[78, 216, 367]",
        "[78, 216, 367, 456, 1, 2]",
        "[a, b, c, d]",
        "(78,216)",
        "(78,216),(367,456),(1,2)",
        "[367, 456, 78, 216]",
        "[367, 456, 78, 216, 0]",
        "[78, 216, 78, 456]",
        "[78, 216, 367, 456, 367, 216, 78, 456]",
        "[" + "9" * 400 + ", 216, 367, 456]",
        "{<78><216><367><456>}",
    ],
)
def test_what_is_no_box_earns_nothing(text: str) -> None:
    assert boxes(text, [BOX]) == 0


def test_a_long_answer_without_sense_is_read_at_once() -> None:
    for text in ("[" * 50_000, "(1,2)" + " " * 50_000, "9" * 50_000, "<think>" * 5_000):
        assert partly(text, [BOX]) == 0


def test_turned_boxes_overlap_as_polygons() -> None:
    square = [0, 0, 10, 10]
    octagon = 2 * (2**0.5 - 1)  # share of a square that its copy, turned by 45 degrees, covers
    assert octagon / (2 - octagon) > 0.7
    assert boxes([[*square, 45]], [square]) == 0.7
    assert boxes([[*square, 90]], [square]) == 1
    long = [0, 40, 100, 60]
    assert boxes([[*long, 90]], [[40, 0, 60, 100]]) == 1
    assert boxes([[*long, 90]], [long]) == 0
    # Clockwise on the screen, where y points down.
    corner = 50 + 50 / 2**0.5
    side = 10 / 2**0.5
    start, end = 100 - corner, corner
    polygon = [start + side, start - side, end + side, end - side]
    polygon += [end - side, end + side, start - side, start + side]
    assert boxes([[*long, 45]], [polygon]) == 1
    assert boxes([[*long, -45]], [polygon]) == 0


def test_grids_are_brought_together_by_width_and_height() -> None:
    size = {"width": 1000, "height": 500}
    pixels, thousand = [200, 100, 600, 300], [200, 200, 600, 600]
    fractions = [0.2, 0.2, 0.6, 0.6]
    grids = {"pixel": pixels, "thousand": thousand, "normalised": fractions}
    swapped = {"width": 500, "height": 1000}
    for grid, box in grids.items():
        for true_grid, true in grids.items():
            names = {"grid": grid, "answer_grid": true_grid}
            assert boxes([box], [true], **names, **size) == 1
            if (grid == "pixel") != (true_grid == "pixel"):
                assert boxes([box], [true], **names, **swapped) == 0
                with pytest.raises(ValueError, match="need the columns width and height"):
                    boxes([box], [true], **names)
            else:
                assert boxes([box], [true], **names) == 1
    with pytest.raises(ValueError, match="no grid 'percent'"):
        boxes([pixels], [pixels], grid="percent")


def test_an_angle_is_one_of_pixels() -> None:
    size = {"width": 1000, "height": 500}
    turned, upright = [400, 300, 600, 700, 90], [450, 200, 550, 600]
    # 200 x 200 pixels: turning by 90 degrees changes nothing.
    grid = {"grid": "thousand", "answer_grid": "pixel"}
    assert boxes([turned], [[400, 150, 600, 350]], **grid, **size) == 1
    assert boxes([turned], [upright], **grid, **size) == 0


def test_a_score_that_failed_earns_nothing() -> None:
    nan, inf = float("nan"), float("inf")
    pairs = [(1.0, None), (None, 0.0), (nan, 0.0), (1.0, nan), (inf, 0.0), (1.0, -inf), (2.0, 1.0)]
    rewards = open_ended_reward(
        [""] * len(pairs),
        [said("a river")] * len(pairs),
        score=[own for own, _ in pairs],
        reference_score=[reference for _, reference in pairs],
    )
    assert rewards == [0] * 6 + [pytest.approx(1 - 2.718281828459045**-0.2)]


def test_data_that_cannot_be_rewarded_is_named() -> None:
    with pytest.raises(ValueError, match="no reward of kind math: one of exact, iou"):
        overall_reward([""], [said("B")], answer=["B"], kind=["math"])
    with pytest.raises(ValueError, match="the column answer has 1 values for 2 completions"):
        exact_reward(["", ""], [said("B")] * 2, answer=["B"])
    with pytest.raises(ValueError, match="no boxes in the true answer 'somewhere'"):
        boxes([BOX], "somewhere")
