"""Questions about generated scenes, with answers that are known."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import numpy as np

from cmid.data.scenes import INSTANCE_CATEGORIES, SEMANTIC_CLASSES, Scene, generate_scene
from cmid.data.scenes.phrases import count_phrase, plural
from cmid.vision_language.scoring.questions import Question

_LARGEST_COUNT = 9
# What the caption with the objects is, of those that a scene has.
_WITH_OBJECTS = 2


def scene_questions(num_scenes: int, *, size: int = 64, seed: int = 0) -> Iterator[Question]:
    """Ask after the class, the main cover, presence, count and a description of each scene.

    Answers are short phrases; of descriptions, kind ``open``, they are references. ``thought`` is
    the class: a model that names it first answers the rest more often.

    Args:
        num_scenes: number of scenes; their classes are balanced.
        size: height and width in pixels.
        seed: of scenes and questions; different seeds share no scene.
    """
    for index in range(num_scenes):
        scene = generate_scene(index, seed=seed, size=size)
        draws = random.Random(f"cmid scene questions {seed} {index}")
        for number, (text, answer, kind) in enumerate(_asked(scene, draws)):
            yield Question(
                f"scene/{seed}/{index}/{number}",
                scene.image,
                text,
                answer,
                kind,
                thought=scene.class_name,
            )


def _asked(scene: Scene, draws: random.Random) -> Iterator[tuple[str, str, str]]:
    counts = Counter(instance.category for instance in scene.instances)
    yield "What kind of place is this?", scene.class_name, "exact"
    cover = np.bincount(scene.semantic_mask.ravel(), minlength=len(SEMANTIC_CLASSES))
    yield "What covers most of the ground?", SEMANTIC_CLASSES[int(cover.argmax())], "exact"
    present = [name for name in INSTANCE_CATEGORIES if counts[name]]
    absent = [name for name in INSTANCE_CATEGORIES if not counts[name]]
    if present and absent:
        asked = draws.choice(draws.choice([present, absent]))
        yield f"Are there any {plural(asked)}?", "yes" if asked in present else "no", "exact"
    countable = [name for name in present if counts[name] <= _LARGEST_COUNT]
    if countable:
        asked = draws.choice(countable)
        answer = count_phrase(asked, counts[asked])
        yield f"How many {plural(asked)} are there?", answer, "exact"
        yield "Describe the image.", scene.captions[_WITH_OBJECTS], "open"
