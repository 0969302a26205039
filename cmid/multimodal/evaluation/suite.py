"""Questions with known answers, and what a guesser would say."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cmid.data.scenes import generate_scene
from cmid.evaluation.answers.blind import BlindAnswers
from cmid.evaluation.answers.question import Kind, Question, rotations
from cmid.multimodal.boxes import BoxForm, upright_corners
from cmid.multimodal.data.scenes import (
    BOXES,
    CHOICE,
    KINDS,
    ORIENTED,
    SceneQuestion,
    ask,
    list_choices,
)

UNSEEN = 1001
"""Seed of scenes that no training of ours has; it has 0, its validation 1."""
# Of each kind of scene question whose answers are not to be the same as the true one.
_KIND: dict[str, Kind] = {
    **dict.fromkeys(("classification", "region"), "class"),
    "count": "count",
    "choice": "choice",
    "caption": "caption",
    "grounding": "box",
    "oriented": "box",
    "honesty": "honesty",
}


@dataclass(frozen=True)
class Suite:
    """A test.

    Attributes:
        name: of the suite.
        questions: to ask; a choice in all rotations of its choices.
        blind: what a guesser without the image answers.
        facts: about the data, a line each.
    """

    name: str
    questions: Sequence[Question]
    blind: BlindAnswers
    facts: Sequence[str] = ()


def make_suite(
    name: str,
    questions: Sequence[Question],
    train: Sequence[Question] = (),
    *,
    boxes: BoxForm = BOXES,
    facts: Sequence[str] = (),
) -> Suite:
    """A suite of questions; each choice becomes all of its rotations.

    Args:
        train: questions that a guesser knows the answers to; without any, those of the test: the
            best constant answer to each text, which flatters the guesser.
        boxes: how a guesser writes boxes.

    Raises:
        ValueError: no questions.
    """
    if not questions:
        raise ValueError(f"suite {name} has no questions")
    turned = [
        each
        for question in questions
        for each in (rotations(question) if question.kind == "choice" else [question])
    ]
    known = "the training data" if train else "the test itself (it has no training part)"
    blind = BlindAnswers(train or questions, write_box=boxes.write)
    told = f"blind answers: the most frequent one to the same question in {known}"
    return Suite(name, turned, blind, (*facts, told))


def scene_suite(
    count: int = 300,
    *,
    kinds: Sequence[str] = KINDS,
    size: int = 64,
    seed: int = UNSEEN,
    train_seed: int = 0,
    train_scenes: int = 1000,
) -> Suite:
    """Questions about generated scenes that no training of ours saw.

    Args:
        count: questions of each kind; not all scenes have one of each.
        kinds: what is asked.
        size: pixels of a scene.
        seed: of the scenes.
        train_seed, train_scenes: scenes that a guesser knows.
    """
    left = dict.fromkeys(kinds, count)
    questions: list[Question] = []
    index = 0
    while any(left.values()) and index < 20 * count:
        for question in scene_questions(index, size=size, seed=seed, kinds=kinds):
            if left[question.task]:
                left[question.task] -= 1
                questions.append(question)
        index += 1
    train = [
        question
        for number in range(train_scenes)
        for question in scene_questions(number, size=size, seed=train_seed, kinds=kinds)
    ]
    facts = (f"{index} generated scenes of {size} pixels, seed {seed}",)
    return make_suite("scenes", questions, train, facts=facts)


def scene_questions(
    index: int, *, size: int, seed: int, kinds: Sequence[str] = KINDS
) -> Iterator[Question]:
    """One question of each kind about a scene."""
    scene = generate_scene(index, seed=seed, size=size)
    draws = random.Random(f"cmid scene test {seed} {index}")
    for asked in ask(scene, draws, kinds):
        yield _question(asked, scene.image, f"scene/{seed}/{index}/{asked.kind}")


def grey(question: Question, *, bands: int = 3) -> Question:
    """The same question about a grey square of each image: what a model says without a look."""
    square = torch.full((bands, 64, 64), 127, dtype=torch.uint8)
    several = isinstance(question.image, tuple)
    return replace(question, image=(square,) * len(question.image) if several else square)


def answer_form(question: Question, boxes: BoxForm) -> str:
    """Words on the form of an answer; none where it is free.

    Args:
        boxes: how they are written, also in the question.
    """
    if question.kind in ("class", "exact") and question.among:
        said = f"Answer with one of these words alone: {', '.join(question.among)}."
        return f"A box is {boxes.words}. {said}" if question.task == "region" else said
    if question.kind == "count":
        return "Answer with a number."
    if question.kind == "choice":
        return "Answer with the letter."
    if question.kind in ("box", "honesty"):
        return f"Answer with a box {boxes.words}."
    return ""


def _question(asked: SceneQuestion, image: Tensor, name: str) -> Question:
    kind = _KIND.get(asked.kind, "exact")
    question = Question(
        asked.kind, kind, asked.text, asked.true, name, image, asked.among, move_boxes=BOXES.moved
    )
    form = ORIENTED if asked.kind == "oriented" else BOXES
    question = replace(question, form=answer_form(question, form))
    if asked.kind == "choice":
        return replace(question, text=CHOICE, listed=list_choices)
    if asked.box is not None:
        corners = asked.box if len(asked.box) > 2 else upright_corners(asked.box.flatten().tolist())
        return replace(question, boxes=(corners,), read_boxes=BOXES.parse)
    return question
