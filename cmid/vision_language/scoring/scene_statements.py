"""What is true of a generated scene, in sentences of which one thing at a time can be wrong."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from cmid.data.scenes import INSTANCE_CATEGORIES, SEMANTIC_CLASSES, Scene
from cmid.data.scenes.drawing import Material
from cmid.data.scenes.phrases import count_phrase, plural

OPPOSITE = {"left": "right", "upper": "lower", "to the left of": "to the right of"}
OPPOSITE |= {"above": "below"}
OPPOSITE |= {b: a for a, b in OPPOSITE.items()}

_SEEN = ("an aerial image with {}", "{} seen from above", "a satellite image that shows {}")
_ROOFS = {Material.TILES: "red", Material.FLAT_ROOF: "grey", Material.METAL_ROOF: "white"}
_VISIBLE = 0.05  # share of the image from which on a class is named
_APART = 0.25  # of the image's side, between the centres of two classes
_OFF_CENTRE = 0.16
_MOSTLY = 0.6
_WITHOUT_LAND_USE = 2  # the last captions of a scene tell its ground cover alone


@dataclass(frozen=True)
class Statement:
    """A true sentence about a scene.

    Attributes:
        kind: what can be wrong in it: ``count``, ``object``, ``relation``, ``colour`` or
            ``mismatch``, which is all of it.
        frame: the sentence without its value: statements of one frame differ in the value alone.
        value: count, name, direction, colour or land use.
        text: the sentence.
    """

    kind: str
    frame: str
    value: str
    text: str


@dataclass(frozen=True)
class SceneFacts:
    """What preferences need to know of a scene.

    Attributes:
        statements: at most one of each kind, but for relations.
        visible: classes that can be seen well, in the order of `SEMANTIC_CLASSES`.
        present: classes of which there is at least a trace.
        captions: all true captions.
    """

    statements: tuple[Statement, ...]
    visible: tuple[str, ...]
    present: frozenset[str]
    captions: frozenset[str]

    def denies(self, statement: Statement, own: Statement) -> bool:
        """Whether the statement of another scene, of the frame of ``own``, is clearly false here.

        Counts have to differ by a factor of two, directions are opposite.
        """
        if statement.kind == "count":
            small, large = sorted(int(s.value) for s in (statement, own))
            return large >= 2 * small
        if statement.kind == "object":
            return statement.value not in self.present
        if statement.kind == "relation":
            return OPPOSITE[statement.value] == own.value
        return statement.value != own.value and statement.text not in self.captions


def observe(scene: Scene, rng: random.Random, *, relations: int = 1) -> SceneFacts:
    """The facts of a scene; which statement of a kind, and its wording, are drawn.

    Args:
        relations: statements of relations at most.
    """
    mask = scene.semantic_mask
    cover = np.bincount(mask.ravel(), minlength=len(SEMANTIC_CLASSES)) / mask.size
    counts = Counter(instance.category for instance in scene.instances)
    visible = tuple(n for n, share in zip(SEMANTIC_CLASSES, cover, strict=True) if share > _VISIBLE)
    traces = {name for name, share in zip(SEMANTIC_CLASSES, cover, strict=True) if share > 0}
    related = [*_related(mask, visible), *_placed(mask, visible)]
    groups = (
        _counted(counts, rng),
        _seen(visible, rng),
        related,
        _coloured(scene, cover[SEMANTIC_CLASSES.index("building")], rng),
        _told(scene),
    )
    return SceneFacts(
        tuple(
            statement
            for group in groups
            for statement in rng.sample(
                group, min(len(group), relations if group is related else 1)
            )
        ),
        visible,
        frozenset(traces | counts.keys()),
        frozenset(scene.captions),
    )


def named(category: str) -> str:
    """A semantic class as the captions of scenes write it."""
    return plural(category) if category in INSTANCE_CATEGORIES else category


def _counted(counts: Counter[str], rng: random.Random) -> list[Statement]:
    form = rng.choice(_SEEN)
    return [
        Statement("count", f"{form} {name}", str(n), form.format(count_phrase(name, n)))
        for name, n in sorted(counts.items())
    ]


def _seen(visible: Sequence[str], rng: random.Random) -> list[Statement]:
    form = rng.choice(_SEEN)
    return [Statement("object", form, name, form.format(named(name))) for name in visible]


def _related(mask: NDArray[np.uint8], visible: Sequence[str]) -> Iterator[Statement]:
    centres = {name: _centre(mask, name) for name in visible}
    for a, b in permutations(visible, 2):
        dx, dy = centres[a][0] - centres[b][0], centres[a][1] - centres[b][1]
        if max(abs(dx), abs(dy)) > _APART:
            if abs(dx) > abs(dy):
                where = "to the left of" if dx < 0 else "to the right of"
            else:
                where = "above" if dy < 0 else "below"
            text = f"{named(a)} {where} {named(b)}"
            yield Statement("relation", f"{a} {b}", where, text)


def _placed(mask: NDArray[np.uint8], visible: Sequence[str]) -> Iterator[Statement]:
    for name in visible:
        x, y = (v - 0.5 for v in _centre(mask, name))
        if max(abs(x), abs(y)) > _OFF_CENTRE:
            where = ("left", "right")[x > 0] if abs(x) > abs(y) else ("upper", "lower")[y > 0]
            text = f"most of the {named(name)} lies in the {where} part of the image"
            yield Statement("relation", name, where, text)


def _centre(mask: NDArray[np.uint8], name: str) -> tuple[float, float]:
    """Mean x and y of a class as fractions of the image."""
    rows, columns = np.nonzero(mask == SEMANTIC_CLASSES.index(name))
    return float(columns.mean() + 0.5) / mask.shape[1], float(rows.mean() + 0.5) / mask.shape[0]


def _coloured(scene: Scene, built: float, rng: random.Random) -> list[Statement]:
    if built < _VISIBLE:
        return []
    areas = {colour: int((scene.material_mask == m).sum()) for m, colour in _ROOFS.items()}
    colour = max(areas, key=lambda name: areas[name])
    if areas[colour] < _MOSTLY * sum(areas.values()):
        return []
    form = rng.choice(_SEEN)
    return [Statement("colour", form, colour, form.format(f"mostly {colour} roofs"))]


def _told(scene: Scene) -> list[Statement]:
    """Captions that tell the land use."""
    texts = scene.captions[:-_WITHOUT_LAND_USE]
    # The caption of counts is missing where there is nothing to count.
    names = ["is", "seen", "counts", "ground", "share"]
    if len(texts) < len(names):
        names.remove("counts")
    return [
        Statement("mismatch", name, scene.class_name, text)
        for name, text in zip(names, texts, strict=True)
    ]
