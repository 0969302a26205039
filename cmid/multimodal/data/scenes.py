"""Questions about generated scenes, each with the one true answer."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cmid.boxes import Floats, box_corners
from cmid.data.scenes import (
    INSTANCE_CATEGORIES,
    PLAIN_AREA,
    SCENE_CLASSES,
    SEMANTIC_CLASSES,
    Scene,
    generate_scene,
)
from cmid.data.scenes.phrases import CLEARLY, place, plural
from cmid.multimodal.boxes import BoxForm
from cmid.multimodal.conversation import Conversation
from cmid.multimodal.data.source import ConversationSource, Example

KINDS = (
    *("classification", "cover", "presence", "comparison", "count"),
    *("urban", "choice", "region", "caption", "grounding"),
)
# What is hard to learn.
AGAIN = {"choice": 2, "region": 2}
ALWAYS = ("cover", "caption")
FURTHER = ("oriented", "honesty", "place")
"""Kinds that have to be asked for: turned boxes, what may not be there, and places in words."""
_URBAN = ("residential", "harbour", "airport", "storage tanks", "junction")
_LETTERS = "ABCD"
_YES_NO = ("yes", "no")
PLACES = tuple(place(x / 6, y / 6) for y in (1, 3, 5) for x in (1, 3, 5))
ASKED_ABSENT = {"building": 0.95, "ship": 1 / 9, "plane": 1 / 9, "storage tank": 1 / 9}
"""Of scenes without one, the share that is asked for it: it is there in half of all questions."""
CHOICE = "[VQA] Which of these is it?"
BOXES = BoxForm(cells=99)
"""How boxes of scenes are written."""
ORIENTED = BoxForm(cells=99, shape="oriented")


@dataclass(frozen=True, eq=False)
class SceneQuestion:
    """A question about a scene.

    Attributes:
        kind: one of `KINDS` or `FURTHER`.
        text: as the model reads it.
        answer: that is taught.
        true: all answers that are right; of a choice the text of the right one; of honesty none
            where the thing is absent.
        among: what there is to choose from.
        box: ``(2, 2)`` corners in fractions of the image, where one is asked for, or ``(4, 2)`` of
            a turned one.
    """

    kind: str
    text: str
    answer: str
    true: tuple[str, ...]
    among: tuple[str, ...] = ()
    box: Floats | None = None


class SceneConversations(ConversationSource):
    """Generated scenes, of each several questions of one turn.

    Args:
        num_images: number of scenes; their classes are balanced.
        size: height and width in pixels.
        seed: sources of different seeds share no scene.
        kinds: what is asked, some of `KINDS` and `FURTHER`.
        limit: questions of a scene; which of them is drawn anew in every epoch.
        again: kinds that are asked so often about one scene, each time of something drawn anew.
        always: kinds that the limit leaves out only where it is less than their number.
    """

    boxes, single_turn = BOXES, True

    def __init__(
        self,
        num_images: int = 12800,
        *,
        size: int = 64,
        seed: int = 0,
        kinds: Sequence[str] = KINDS,
        limit: int = 7,
        again: Mapping[str, int] = AGAIN,
        always: Sequence[str] = ALWAYS,
    ) -> None:
        named = (*kinds, *again, *always)
        unknown = [kind for kind in named if kind not in (*KINDS, *FURTHER)]
        if unknown or not kinds:
            raise ValueError(f"kinds {[*kinds]}: give some of {', '.join((*KINDS, *FURTHER))}")
        self.num_images, self.size, self.seed = num_images, size, seed
        self.kinds, self.limit, self.again = tuple(kinds), limit, dict(again)
        self.always = frozenset(always)

    def __len__(self) -> int:
        return self.num_images

    def read(self, index: int, *, generator: np.random.Generator | None = None) -> Example:
        scene = generate_scene(index, seed=self.seed, size=self.size)
        epoch = 0 if generator is None else int(generator.integers(1 << 30))
        draws = random.Random(f"cmid scene conversations {self.seed} {index} {epoch}")
        times = max(self.again.values(), default=1)
        questions = {
            asked.text: asked
            for time in range(times)
            for asked in ask(
                scene, draws, [kind for kind in self.kinds if time < self.again.get(kind, 1)]
            )
        }
        drawn = [*questions.values()]
        draws.shuffle(drawn)
        drawn.sort(key=lambda asked: asked.kind not in self.always)  # stable
        chosen = drawn[: self.limit]
        draws.shuffle(chosen)  # where one stands must not tell what it is
        pairs = [[(asked.text, asked.answer)] for asked in chosen]
        conversations = tuple(Conversation.of(pair, images=1) for pair in pairs)
        return Example((scene.image,), conversations, f"scene/{self.seed}/{index}")


def ask(
    scene: Scene, draws: random.Random, kinds: Sequence[str] = KINDS
) -> Iterator[SceneQuestion]:
    """What can be asked about a scene, at most one question of each of ``kinds``.

    Answers are as balanced as scenes allow: presence and comparison ask of pairs for which either
    answer was drawn first, and the letter of a choice is drawn. Only kinds of which each one is
    plainly seen are counted.
    """
    asked: Iterator[SceneQuestion] = _about_all(scene, draws)
    if not {*FURTHER}.isdisjoint(kinds):
        asked = itertools.chain(asked, _about_places(scene, draws))
    yield from (question for question in asked if question.kind in kinds)


def _about_all(scene: Scene, draws: random.Random) -> Iterator[SceneQuestion]:
    """A question of each of `KINDS` that the scene has an answer to."""
    yield from _about_land(scene)
    yield from _about_objects(scene, draws)
    others = [name for name in SCENE_CLASSES if name != scene.class_name]
    choices = [*draws.sample(others, len(_LETTERS) - 1), scene.class_name]
    draws.shuffle(choices)
    answer = _LETTERS[choices.index(scene.class_name)]
    text, own = list_choices(CHOICE, choices), (scene.class_name,)
    yield SceneQuestion("choice", text, answer, own, tuple(choices))
    caption = draws.choice(scene.captions)
    yield SceneQuestion("caption", "Describe the image.", caption, scene.captions)
    size = len(scene.semantic_mask)
    if scene.instances:
        instance = draws.choice(scene.instances)
        box = np.array(instance.box).reshape(2, 2) / size
        own = (instance.category,)
        text = f"[Identify] What is at {BOXES.write(box)}?"
        yield SceneQuestion("region", text, own[0], own, INSTANCE_CATEGORIES)
    if scene.region_phrases:
        phrase, upright = draws.choice(scene.region_phrases)
        box = np.array(upright).reshape(2, 2) / size
        own = (BOXES.write(box),)
        yield SceneQuestion("grounding", f"[VG] Where is {phrase}?", own[0], own, box=box)


def _about_places(scene: Scene, draws: random.Random) -> Iterator[SceneQuestion]:
    """A turned box, a place in words, and a place of something that may be absent."""
    size = len(scene.semantic_mask)
    turned = {instance.box: instance.oriented_box for instance in scene.instances}
    objects = [(phrase, box) for phrase, box in scene.region_phrases if box in turned]
    known = [(phrase, turned[box]) for phrase, box in objects]
    if known:
        phrase, oriented = draws.choice(known)
        corners = box_corners(oriented) / size
        answer = (ORIENTED.write(corners),)
        text = f"[VG] Where is {phrase}? Give a turned box."
        yield SceneQuestion("oriented", text, answer[0], answer, box=corners)
    unplaced = [(phrase, box) for phrase, box in objects if " in the " not in phrase]
    if unplaced:
        phrase, box = draws.choice(unplaced)
        x, y = np.array(box).reshape(2, 2).mean(axis=0) / size
        own = (place(float(x), float(y)),)
        text = f"[VQA] In which part of the image is {phrase}?"
        yield SceneQuestion("place", text, own[0], own, PLACES)
    names = [*ASKED_ABSENT]
    draws.shuffle(names)
    for name in names:
        group = [each for each in scene.instances if each.category == name]
        largest = max(group, key=lambda each: each.area, default=None)
        text = f"[VG] Where is a {name}?"
        if largest is not None and largest.area >= PLAIN_AREA:
            answer = (BOXES.write(np.array(largest.box).reshape(2, 2) / size),)
            yield SceneQuestion("honesty", text, answer[0], answer)
            return
        if largest is None and draws.random() < ASKED_ABSENT[name]:
            yield SceneQuestion("honesty", text, f"there is no {name}", ())
            return


def list_choices(question: str, choices: Sequence[str]) -> str:
    """A question with its choices behind letters."""
    listed = (f"{k}. {name}" for k, name in zip(_LETTERS, choices, strict=True))
    return f"{question} {' '.join(listed)}"


def _about_land(scene: Scene) -> Iterator[SceneQuestion]:
    def asked(kind: str, text: str, answer: str, among: Sequence[str]) -> SceneQuestion:
        return SceneQuestion(kind, text, answer, (answer,), tuple(among))

    name = scene.class_name
    yield asked("classification", "[CLS] What kind of place is this?", name, SCENE_CLASSES)
    cover = np.bincount(scene.semantic_mask.ravel(), minlength=len(SEMANTIC_CLASSES))
    second, first = np.sort(cover)[-2:]
    if first > CLEARLY * second:
        most = SEMANTIC_CLASSES[int(cover.argmax())]
        yield asked("cover", "[VQA] What covers most of the ground?", most, SEMANTIC_CLASSES)
    urban = "urban" if name in _URBAN else "rural"
    yield asked("urban", "[VQA] Is this a rural or an urban area?", urban, ("rural", "urban"))


def _about_objects(scene: Scene, draws: random.Random) -> Iterator[SceneQuestion]:
    def asked(kind: str, text: str, answer: str, among: tuple[str, ...] = ()) -> SceneQuestion:
        return SceneQuestion(kind, f"[VQA] {text}", answer, (answer,), among)

    counts = Counter(instance.category for instance in scene.instances)
    present = [name for name in INSTANCE_CATEGORIES if counts[name]]
    absent = [name for name in INSTANCE_CATEGORIES if not counts[name]]
    if present and absent:
        wanted = draws.choice(_YES_NO)
        name = draws.choice(present if wanted == "yes" else absent)
        yield asked("presence", f"Are there any {plural(name)}?", wanted, _YES_NO)
    pairs = [(a, b) for a in counts for b in INSTANCE_CATEGORIES if counts[a] > counts[b]]
    if pairs:
        more, fewer = draws.choice(pairs)
        wanted = draws.choice(_YES_NO)
        a, b = (more, fewer) if wanted == "yes" else (fewer, more)
        text = f"Are there more {plural(a)} than {plural(b)}?"
        yield asked("comparison", text, wanted, _YES_NO)
    if present:
        name = draws.choice(present)
        if name not in _hardly_seen(scene):
            yield asked("count", f"How many {plural(name)} are there?", str(counts[name]))


def _hardly_seen(scene: Scene) -> set[str]:
    """Categories of which one at least is too small to be seen plainly."""
    return {each.category for each in scene.instances if each.area < PLAIN_AREA}
