"""Preferences on generated scenes."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import torch

from cmid.data.scenes import generate_scene
from cmid.vision_language.data.problems import AnnotationError
from cmid.vision_language.scoring.preferences import Preference
from cmid.vision_language.scoring.scene_preferences import KINDS, ScenePreferences
from cmid.vision_language.scoring.scene_statements import OPPOSITE, observe


@pytest.fixture(scope="module")
def scenes() -> ScenePreferences:
    return ScenePreferences(150, seed=4)


def test_every_text_is_chosen_as_often_as_it_is_rejected(scenes: ScenePreferences) -> None:
    lead: Counter[str] = Counter()
    for preference in (each for k in range(len(scenes)) for each in scenes.preferences(k)):
        for better, worse in preference.pairs():
            lead[preference.candidates[better]] += 1
            lead[preference.candidates[worse]] -= 1
    assert not any(lead.values())


def test_all_kinds_are_made_and_what_is_chosen_is_true(scenes: ScenePreferences) -> None:
    assert set(scenes.counts) == set(KINDS)
    for index in range(0, len(scenes), 7):
        number = scenes.scene(index)
        scene = generate_scene(number, seed=4)
        assert torch.equal(scenes.read(index), scene.image)
        facts = observe(scene, random.Random(f"cmid preferences 4 scene {number}"))
        true = {statement.text for statement in facts.statements}
        for preference in scenes.preferences(index):
            if preference.kind not in ("hallucinated", "missing"):
                assert preference.candidates[0] in true
                assert preference.candidates[-1] not in true | facts.captions


def test_a_wrong_direction_is_the_opposite_one_and_a_wrong_number_twice_as_large() -> None:
    scene = next(s for i in range(99) if (s := generate_scene(i)).class_name == "harbour")
    facts = observe(scene, random.Random(0))
    for own in facts.statements:
        if own.kind in ("count", "relation"):
            counted = own.kind == "count"
            opposite = str(2 * int(own.value)) if counted else OPPOSITE[own.value]
            other = type(own)(own.kind, own.frame, opposite, "x")
            assert facts.denies(other, own)
            assert not facts.denies(own, own)


def test_a_set_to_filter_has_one_caption_a_scene_and_the_share_of_corrupted_ones(
    scenes: ScenePreferences,
) -> None:
    drawn = scenes.captions(0.4)
    assert len({each.index for each in drawn}) == len(drawn)
    assert sum(each.kind is not None for each in drawn) == round(0.4 * len(drawn))
    assert drawn == scenes.captions(0.4)
    assert drawn != scenes.captions(0.4, seed=1)


def test_unknown_kinds_and_too_few_scenes_are_named() -> None:
    with pytest.raises(ValueError, match=r"kinds season are unknown: take count, .*"):
        ScenePreferences(10, kinds=("count", "season"))
    with pytest.raises(ValueError, match="1 scenes are too few"):
        ScenePreferences(1)


@pytest.mark.parametrize(
    ("candidates", "ranks", "fault"),
    [
        (("a ship", "a ship"), (), "'a ship' is chosen and rejected"),
        (("a ship", " "), (), "a text of it is empty"),
        (("a ship",), (), "prefers no text"),
        (("a ship", "a plane"), (1, 1), "prefers no text"),
        (("a ship", "a plane"), (1, None), "prefers no text"),
        (("a ship", "a plane"), (1, 2, 3), "3 ranks, 2 texts"),
    ],
)
def test_preferences_that_prefer_nothing_are_refused(
    candidates: tuple[str, ...], ranks: tuple[int | None, ...], fault: str
) -> None:
    with pytest.raises(AnnotationError, match=fault):
        Preference(candidates, ranks=ranks)


def test_pairs_leave_out_ties_and_missing_ranks() -> None:
    preference = Preference(("a", "b", "c", "d"), ranks=(0, 1, 1, None))
    assert [*preference.pairs()] == [(0, 1), (0, 2)]
