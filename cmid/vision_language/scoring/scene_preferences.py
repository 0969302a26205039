"""Preferences on generated scenes: true captions against corrupted ones, by what is wrong.

A corrupted caption is, wherever it can be, the true caption of another scene that differs in one
thing; and the other scene has the caption of this one for its corrupted one. Every pair of texts
thus comes in both orders, and a scorer that reads the text alone is right in one of two.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cmid.data.scenes import generate_scene
from cmid.data.scenes.phrases import joined
from cmid.vision_language.scoring.preferences import Preference, PreferenceSource
from cmid.vision_language.scoring.scene_statements import SceneFacts, Statement, named, observe

# What is wrong: another number, class, direction, colour of roofs, scene; one thing too many, one
# thing not told; broken off; no content.
KINDS = (
    *("count", "object", "relation", "colour", "mismatch"),
    *("hallucinated", "missing", "truncated", "vague"),
)
_VAGUE = (
    "an aerial image",
    "a picture of the ground",
    "some land seen from above",
    "a satellite image of an area",
    "various things can be seen",
)
_LIST = "an aerial image with {}"
_ROUNDS = 8  # of finding partners


@dataclass(frozen=True)
class CaptionedScene:
    """A scene with a caption that may be corrupted.

    Attributes:
        index: number of the scene.
        text: its caption.
        kind: what is wrong in it, one of `KINDS`; None where nothing is.
    """

    index: int
    text: str
    kind: str | None


class ScenePreferences(PreferenceSource):
    """Ranked captions of generated scenes, about one of each kind a scene.

    ``truncated`` and ``vague`` have three candidates: a true caption, one that is broken off or
    says nothing, and the true caption of another scene: to say little is better than to be wrong.

    Args:
        num_images: number of scenes, which are kept in memory.
        size: height and width in pixels.
        seed: sources of different seeds share no scene (training and validation).
        kinds: which of `KINDS` to make.
        relations: statements of relations that are taken of a scene, at most: it has several, and
            they are learned the slowest.

    Raises:
        ValueError: no such kind, or too few scenes to make a preference.
    """

    def __init__(
        self,
        num_images: int = 4000,
        *,
        size: int = 64,
        seed: int = 0,
        kinds: Sequence[str] = KINDS,
        relations: int = 1,
    ) -> None:
        unknown = sorted(set(kinds) - set(KINDS))
        if unknown:
            raise ValueError(f"kinds {', '.join(unknown)} are unknown: take {', '.join(KINDS)}")
        self.images = torch.empty((num_images, 3, size, size), dtype=torch.uint8)
        self.seed = seed
        facts = []
        for index in range(num_images):
            scene = generate_scene(index, seed=seed, size=size)
            self.images[index] = scene.image
            facts.append(observe(scene, self._random(f"scene {index}"), relations=relations))
        made = [*_swapped(facts, self._random("swapped")), *_listed(facts, self._random("listed"))]
        made += _shortened(facts, self._random("shortened"))
        of_scene: dict[int, list[Preference]] = defaultdict(list)
        for index, preference in made:
            if preference.kind in kinds:
                of_scene[index].append(preference)
        self._made = [(index, tuple(own)) for index, own in sorted(of_scene.items())]
        if not self._made:
            raise ValueError(f"{num_images} scenes are too few for preferences: take more")

    def _random(self, subject: str) -> random.Random:
        return random.Random(f"cmid preferences {self.seed} {subject}")

    def __len__(self) -> int:
        return len(self._made)

    @property
    def counts(self) -> Counter[str]:
        """Number of preferences of each kind."""
        return Counter(preference.kind for _, own in self._made for preference in own)

    def preferences(self, index: int) -> tuple[Preference, ...]:
        return self._made[index][1]

    def scene(self, index: int) -> int:
        """Number of the scene at an index: scenes without a preference are left out."""
        return self._made[index][0]

    def read(self, index: int) -> Tensor:
        return self.images[self.scene(index)]

    def captions(self, corrupted: float, *, seed: int = 0) -> list[CaptionedScene]:
        """One caption a scene, a share of them corrupted: a set to filter.

        The kind is drawn first, then whether its caption is the true one or the corrupted one, so
        that a kind of sentence says nothing of its truth. Scenes without any preference are absent.

        Args:
            corrupted: share of captions to corrupt, in [0, 1]; met exactly, but for rounding.
            seed: random seed of the choice.
        """
        rng = self._random(f"captions {seed}")
        false = [k < round(corrupted * len(self)) for k in range(len(self))]
        rng.shuffle(false)
        drawn = []
        for (index, preferences), is_false in zip(self._made, false, strict=True):
            preference = rng.choice(preferences)
            text = preference.candidates[1 if is_false else 0]
            drawn.append(CaptionedScene(index, text, preference.kind if is_false else None))
        return drawn


_Made = Iterator[tuple[int, Preference]]  # number of a scene, and a preference on it


def _swapped(facts: Sequence[SceneFacts], rng: random.Random) -> _Made:
    """Two scenes with statements of one frame, each of which is false of the other one."""
    for (i, own), (j, other) in _partners(facts, rng):
        for index, true, false in ((i, own, other), (j, other, own)):
            yield index, Preference((true.text, false.text), kind=true.kind)


def _partners(
    facts: Sequence[SceneFacts], rng: random.Random
) -> Iterator[tuple[tuple[int, Statement], tuple[int, Statement]]]:
    frames: dict[tuple[str, str], list[tuple[int, Statement]]] = defaultdict(list)
    for index, of_scene in enumerate(facts):
        for statement in of_scene.statements:
            frames[statement.kind, statement.frame].append((index, statement))
    for waiting in frames.values():
        for _ in range(_ROUNDS):
            rng.shuffle(waiting)
            left = waiting[len(waiting) // 2 * 2 :]
            for a, b in zip(waiting[::2], waiting[1::2], strict=False):
                if facts[a[0]].denies(b[1], a[1]) and facts[b[0]].denies(a[1], b[1]):
                    yield a, b
                else:
                    left += [a, b]
            waiting = left


def _listed(facts: Sequence[SceneFacts], rng: random.Random) -> _Made:
    """Two scenes of which one shows what the other shows, and one thing more."""
    by_list: dict[tuple[str, ...], list[int]] = defaultdict(list)
    order = [*range(len(facts))]
    rng.shuffle(order)
    for index in order:
        by_list[facts[index].visible].append(index)
    for index in order:
        visible = facts[index].visible
        for extra in rng.sample(visible, len(visible)):
            fewer = tuple(name for name in visible if name != extra)
            partner = next((k for k in by_list[fewer] if extra not in facts[k].present), None)
            if fewer and partner is not None:
                by_list[fewer].remove(partner)
                short, long = (_LIST.format(joined([*map(named, v)])) for v in (fewer, visible))
                yield partner, Preference((short, long), kind="hallucinated")
                yield index, Preference((long, short), kind="missing")
                break


def _shortened(facts: Sequence[SceneFacts], rng: random.Random) -> _Made:
    """True captions, what is left of them, and captions of other scenes."""
    captions = [
        tuple(
            Statement(s.kind, "", s.value, s.text) for s in each.statements if s.kind == "mismatch"
        )
        for each in facts
    ]
    stripped = [
        SceneFacts(own, each.visible, each.present, each.captions)
        for own, each in zip(captions, facts, strict=True)
    ]
    for kind in ("truncated", "vague"):
        for (i, own), (j, other) in _partners(stripped, rng):
            for index, true, false in ((i, own, other), (j, other, own)):
                less = rng.choice(_VAGUE) if kind == "vague" else _broken_off(true.text, rng)
                yield index, Preference((true.text, less, false.text), kind=kind)


def _broken_off(text: str, rng: random.Random) -> str:
    words = text.split()
    return " ".join(words[: rng.randint(2, max(2, len(words) // 2))])
