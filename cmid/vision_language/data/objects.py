"""True texts of annotated objects: captions from counts and places, phrases of single objects."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import dataclass

from cmid.boxes import Box, area
from cmid.data.scenes.phrases import count_phrase, joined, place, plural

_COUNT_TEMPLATES = (
    "a satellite image with {objects}",
    "an aerial image showing {objects}",
    "an overhead view of {objects}",
    "a scene with {objects}, seen from above",
    "a remote sensing image that contains {objects}",
)
_ALL_TEMPLATES = (
    "all of the {objects} are in the {place}",
    "the {objects} lie in the {place}",
    "in the {place} are the {objects}",
)
_ONE_TEMPLATES = (
    "the {kind} {object} is in the {place}",
    "in the {place} lies the {kind} {object}",
    "the {kind} {object} can be seen in the {place}",
)
_CLEARLY_LARGER = 1.1
Corners = tuple[tuple[float, float], ...]
_SENTENCES = 3  # about places; more would not fit the 77 tokens of CLIP


@dataclass(frozen=True)
class ImageObjects:
    """All annotated objects of one image.

    Attributes:
        path: path of the image, relative to the folder of images.
        size: height and width in pixels.
        categories: category of each object, as text.
        boxes: box of each object, in pixels.
        crowds: categories with a box around several objects: their number is not known.
        corners: four x and y of each object, where they are turned; else none.
    """

    path: str
    size: tuple[int, int]
    categories: tuple[str, ...]
    boxes: tuple[Box, ...]
    crowds: frozenset[str] = frozenset()
    corners: tuple[Corners, ...] = ()


def describe_image(objects: ImageObjects, *, seed: int = 0) -> tuple[str, ...]:
    """A caption of counts, and one of counts and places; none for an image without objects.

    Wording and the order of categories are drawn from ``(seed, path)``; what is said is true of
    the boxes: exact numbers, no category that is not there, and a place (one of nine) of a
    category only if all its boxes, or the largest one, have their centre there.
    """
    counts = Counter(objects.categories)
    if not counts and not objects.crowds:
        return ()
    rng = random.Random(f"cmid captions {seed} {objects.path}")
    names = sorted(counts.keys() | objects.crowds)
    rng.shuffle(names)
    phrases = [
        f"several {plural(name)}" if name in objects.crowds else count_phrase(name, counts[name])
        for name in names
    ]
    counted = rng.choice(_COUNT_TEMPLATES).replace("{objects}", joined(phrases))
    members = _members(objects)
    placed = [
        sentence
        for name in names
        if name not in objects.crowds and (sentence := _place_sentence(name, members[name], rng))
    ]
    if not placed:
        return (counted,)
    return counted, ". ".join([counted, *placed[:_SENTENCES]])


def describe_objects(objects: ImageObjects, *, seed: int = 0) -> tuple[str | None, ...]:
    """For each object a phrase that is true of it alone, or None: the only, largest, one there."""
    rng = random.Random(f"cmid phrases {seed} {objects.path}")
    members = _members(objects)
    largest = {name: _largest(group) for name, group in members.items()}
    places = Counter((name, where) for name, group in members.items() for _, where in group)
    phrases: list[str | None] = []
    for name, box in zip(objects.categories, objects.boxes, strict=True):
        where = _place(box, objects.size)
        true = []
        if name not in objects.crowds:
            if len(members[name]) == 1:
                true.append(f"the only {name}")
            elif largest[name] == (box, where):
                true.append(f"the largest {name}")
            if places[name, where] == 1:
                true.append(f"the {name} in the {where}")
        phrases.append(rng.choice(true) if true else None)
    return tuple(phrases)


_Group = list[tuple[Box, str]]  # boxes of a category with their places


def _members(objects: ImageObjects) -> dict[str, _Group]:
    members: dict[str, _Group] = defaultdict(list)
    for name, box in zip(objects.categories, objects.boxes, strict=True):
        members[name].append((box, _place(box, objects.size)))
    return members


def _place(box: Box, size: tuple[int, int]) -> str:
    height, width = size
    return place((box[0] + box[2]) / 2 / width, (box[1] + box[3]) / 2 / height)


def _largest(group: _Group) -> tuple[Box, str] | None:
    """The box that is clearly larger than all others, if there is one."""
    ranked = sorted(group, key=lambda member: -area(member[0]))
    if len(ranked) > 1 and area(ranked[0][0]) <= _CLEARLY_LARGER * area(ranked[1][0]):
        return None
    return ranked[0]


def _place_sentence(name: str, group: _Group, rng: random.Random) -> str | None:
    places = {where for _, where in group}
    if len(group) > 1 and len(places) == 1:
        template = rng.choice(_ALL_TEMPLATES).replace("{objects}", plural(name))
        return template.replace("{place}", places.pop())
    largest = _largest(group)
    if largest is None:
        return None
    kind = "only" if len(group) == 1 else "largest"
    template = rng.choice(_ONE_TEMPLATES).replace("{kind}", kind).replace("{object}", name)
    return template.replace("{place}", largest[1])
