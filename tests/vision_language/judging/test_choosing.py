"""Best against the rest, equals in no pair, wrong answers against true ones."""

from __future__ import annotations

import pytest

from cmid.vision_language.judging.choosing import Choice, as_published, choose_best
from cmid.vision_language.judging.items import Item
from cmid.vision_language.judging.judge import Judgements
from cmid.vision_language.judging.rubric import DIMENSIONS


def judged(*levels: dict[str, tuple[int, ...]]) -> Judgements:
    """Judgements of items: by text, the level of all five dimensions in each round."""
    found = Judgements()
    for number, texts in enumerate(levels):
        for text, rounds in texts.items():
            for turn, level in enumerate(rounds):
                found.levels[number, text][turn] = dict.fromkeys(DIMENSIONS, level)
    return found


def captions(*texts: str) -> Item:
    return Item(0, candidates={text: [f"model {text}"] for text in texts})


def test_the_best_mean_is_chosen_and_the_rest_is_rejected_best_first() -> None:
    judgements = judged({"a": (3, 2), "b": (5, 4), "c": (3, 3)})
    made = choose_best([captions("a", "b", "c")], judgements)
    assert made.made == [Choice(0, "b", ("c", "a"), (4.5, 3.0, 2.5))]
    entry = as_published(
        made.made[0], captions("a", "b", "c"), image_path="i.png", judgements=judgements
    )
    assert entry == {
        "kind": "caption",
        "chosen": "b",
        "rejected": ["c", "a"],
        "image_path": "i.png",
        "scores": [4.5, 3.0, 2.5],
        "dimensions": [dict.fromkeys(DIMENSIONS, level) for level in (4.5, 3.0, 2.5)],
        "sources": [["model b"], ["model c"], ["model a"]],
    }


def test_equal_means_are_listed_and_not_paired() -> None:
    items = [captions("a", "b", "c"), captions("a", "b")]
    judgements = judged({"a": (4,), "b": (2,), "c": (4,)}, {"a": (3,), "b": (3,)})
    # Other levels, the same mean.
    for place, name in enumerate(DIMENSIONS):
        judgements.levels[0, "c"][0][name] = 5 - place % 2 * 2 if place < 4 else 4
    made = choose_best(items, judgements)
    assert made.made == [Choice(0, "a", ("b",), (4.0, 2.0), ("c",))]
    assert made.left_out == {"all candidates are equally good": 1}
    assert made.ties == 2
    entry = as_published(made.made[0], items[0], image_path="i", judgements=judgements)
    assert (entry["rejected"], entry["ties"]) == (["b"], ["c"])


def test_candidates_without_a_judgement_are_in_no_pair() -> None:
    judgements = judged({"a": (4,), "c": (1,)}, {"a": (5,)})
    made = choose_best([captions("a", "b", "c"), captions("a", "b"), captions("a")], judgements)
    assert made.made == [Choice(0, "a", ("c",), (4.0, 1.0))]
    assert made.left_out == {
        "fewer than two judged candidates": 1,
        "fewer than two different candidates": 1,
    }


@pytest.mark.parametrize(
    ("answer", "candidate", "wrong"),
    [
        ("2", "3", True),
        ("2", "12", True),
        ("2", " 2. ", False),
        ("2", "There are 2 ships.", False),
        ("Yes", "yes", False),
        ("Residential Area", "residential  area.", False),
        ("no", "North", True),
        ("a.b", "axb", True),
    ],
)
def test_wrong_answers_to_closed_questions_are_rejected(
    answer: str, candidate: str, wrong: bool
) -> None:
    item = Item(0, "q", answer, {candidate: ["m"]})
    made = choose_best([item], Judgements())
    assert made.made == ([Choice(0, answer, (candidate,))] if wrong else [])
    assert made.unclear == (candidate == "There are 2 ships.")
    if wrong:
        entry = as_published(made.made[0], item, image_path="i", judgements=Judgements())
        assert entry == {
            "question": "q",
            "kind": "closed",
            "chosen": answer,
            "rejected": [candidate],
            "image_path": "i",
            "sources": [["ground truth"], ["m"]],
        }
