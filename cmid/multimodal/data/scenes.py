"""Questions about generated scenes, each with the one true answer."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from cmid.data.scenes import (
    INSTANCE_CATEGORIES,
    SCENE_CLASSES,
    SEMANTIC_CLASSES,
    Scene,
    generate_scene,
)
from cmid.data.scenes.phrases import plural
from cmid.multimodal.boxes import BoxForm
from cmid.multimodal.conversation import Conversation
from cmid.multimodal.data.source import ConversationSource, Example

KINDS = (
    *("classification", "cover", "presence", "comparison", "count"),
    *("urban", "choice", "region", "caption", "grounding"),
)
_URBAN = ("residential", "harbour", "airport", "storage tanks", "junction")
_LETTERS = "ABCD"
_BOXES = BoxForm(cells=99)


class SceneConversations(ConversationSource):
    """Generated scenes, of each several questions of one turn.

    Args:
        num_images: number of scenes; their classes are balanced.
        size: height and width in pixels.
        seed: sources of different seeds share no scene.
        kinds: what is asked.
        limit: questions of a scene; which of them is drawn anew in every epoch.
    """

    boxes, single_turn = _BOXES, True

    def __init__(
        self,
        num_images: int = 12800,
        *,
        size: int = 64,
        seed: int = 0,
        kinds: Sequence[str] = KINDS,
        limit: int = 7,
    ) -> None:
        unknown = [kind for kind in kinds if kind not in KINDS]
        if unknown or not kinds:
            raise ValueError(f"kinds {[*kinds]}: give some of {', '.join(KINDS)}")
        self.num_images, self.size, self.seed = num_images, size, seed
        self.kinds, self.limit = tuple(kinds), limit

    def __len__(self) -> int:
        return self.num_images

    def read(self, index: int, *, generator: np.random.Generator | None = None) -> Example:
        scene = generate_scene(index, seed=self.seed, size=self.size)
        epoch = 0 if generator is None else int(generator.integers(1 << 30))
        draws = random.Random(f"cmid scene conversations {self.seed} {index} {epoch}")
        asked = [
            Conversation.of([(question, answer)], images=1)
            for kind, question, answer in ask(scene, draws)
            if kind in self.kinds
        ]
        draws.shuffle(asked)
        return Example((scene.image,), tuple(asked[: self.limit]), f"scene/{self.seed}/{index}")


def ask(scene: Scene, draws: random.Random) -> Iterator[tuple[str, str, str]]:
    """Kinds, questions and answers of all that can be asked about a scene.

    Answers are as balanced as scenes allow: presence and comparison ask of pairs for which either
    answer was drawn first, and the letter of a choice is drawn.
    """
    counts = Counter(instance.category for instance in scene.instances)
    cover = np.bincount(scene.semantic_mask.ravel(), minlength=len(SEMANTIC_CLASSES))
    yield "classification", "[CLS] What kind of place is this?", scene.class_name
    most = SEMANTIC_CLASSES[int(cover.argmax())]
    yield "cover", "[VQA] What covers most of the ground?", most
    urban = "urban" if scene.class_name in _URBAN else "rural"
    yield "urban", "[VQA] Is this a rural or an urban area?", urban
    present = [name for name in INSTANCE_CATEGORIES if counts[name]]
    absent = [name for name in INSTANCE_CATEGORIES if not counts[name]]
    if present and absent:
        wanted = draws.choice(["yes", "no"])
        name = draws.choice(present if wanted == "yes" else absent)
        yield "presence", f"[VQA] Are there any {plural(name)}?", wanted
    pairs = [(a, b) for a in counts for b in INSTANCE_CATEGORIES if counts[a] > counts[b]]
    if pairs:
        more, fewer = draws.choice(pairs)
        wanted = draws.choice(["yes", "no"])
        a, b = (more, fewer) if wanted == "yes" else (fewer, more)
        yield "comparison", f"[VQA] Are there more {plural(a)} than {plural(b)}?", wanted
    if present:
        name = draws.choice(present)
        yield "count", f"[VQA] How many {plural(name)} are there?", str(counts[name])
    others = [name for name in SCENE_CLASSES if name != scene.class_name]
    choices = [*draws.sample(others, len(_LETTERS) - 1), scene.class_name]
    draws.shuffle(choices)
    listed = " ".join(f"{k}. {name}" for k, name in zip(_LETTERS, choices, strict=True))
    answer = _LETTERS[choices.index(scene.class_name)]
    yield "choice", f"[VQA] Which of these is it? {listed}", answer
    yield "caption", "Describe the image.", draws.choice(scene.captions)
    size = len(scene.semantic_mask)
    if scene.instances:
        instance = draws.choice(scene.instances)
        box = np.array(instance.box).reshape(2, 2) / size
        yield "region", f"[Identify] What is at {_BOXES.write(box)}?", instance.category
    if scene.region_phrases:
        phrase, upright = draws.choice(scene.region_phrases)
        box = np.array(upright).reshape(2, 2) / size
        yield "grounding", f"[VG] Where is {phrase}?", _BOXES.write(box)
