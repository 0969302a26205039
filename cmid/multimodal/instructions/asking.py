"""All that can be asked about an annotated image, each with the one true answer."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from cmid.data.scenes.phrases import CLEARLY, count_phrase, place
from cmid.multimodal.boxes import BoxForm
from cmid.multimodal.instructions.annotated import Annotated, Changes, Vocabulary
from cmid.multimodal.instructions.wording import question, refusal
from cmid.vision_language.data.objects import describe_image, describe_objects

TASKS = (
    *("classification", "choice", "cover", "cover_presence", "cover_comparison", "presence"),
    *("object_choice", "count", "comparison", "location", "grounding", "honesty", "referring"),
    *("region", "region_caption", "caption", "change", "change_caption"),
)
LETTERS = "ABCD"
_PLAIN = 0.01  # a class of a smaller share is neither said to be there nor to be absent
_MOST_BOXES = 8


@dataclass(frozen=True)
class Asked:
    """A question.

    Attributes:
        task: one of `TASKS`.
        subject: what it is about; answers are balanced among questions of one task and subject.
        group: to which of the possible answers this one belongs.
    """

    task: str
    subject: str
    group: str
    question: str
    answer: str


@dataclass(frozen=True)
class Asker:
    """Asks about images of a set.

    Attributes:
        vocabulary: names of the whole set. form: how boxes are written.
        tags: questions begin with the published tag of their task.
    """

    vocabulary: Vocabulary
    form: BoxForm = field(default_factory=BoxForm)
    tags: bool = False

    def ask(self, item: Annotated, draws: random.Random) -> Iterator[Asked]:
        """Questions about one image; of what there are many, some are drawn.

        Where a question is answered by yes or no, either answer is looked for.
        """
        if item.label is not None:
            yield from self._label(item.label, draws)
        if item.cover is not None:
            yield from self._cover(item, draws)
        if item.objects is not None:
            yield from self._objects(item, draws)
            if not item.partial:
                yield from self._counted(item, draws)
        if item.changes is not None:
            yield from self._changes(item.changes, draws)
        for caption in item.captions:
            yield self._asked("caption", "", "", caption, draws)

    def _asked(
        self, task: str, subject: str, group: str, answer: str, draws: random.Random, **words: str
    ) -> Asked:
        text = question(task, draws, tags=self.tags, **words)
        return Asked(task, subject, group, text, answer)

    def _label(self, label: str, draws: random.Random) -> Iterator[Asked]:
        yield self._asked("classification", "", label, label, draws)
        yield from self._choice("choice", label, [*self.vocabulary.labels], draws)

    def _choice(
        self, task: str, right: str, among: list[str], draws: random.Random
    ) -> Iterator[Asked]:
        others = [name for name in among if name != right]
        if not others:
            return
        choices = [right, *draws.sample(others, min(len(others), len(LETTERS) - 1))]
        draws.shuffle(choices)
        letter = LETTERS[choices.index(right)]
        listed = " ".join(f"{k}. {name}" for k, name in zip(LETTERS, choices, strict=False))
        text = question(task, draws, tags=self.tags)
        yield Asked(task, "", letter, f"{text} {listed}", letter)

    def _cover(self, item: Annotated, draws: random.Random) -> Iterator[Asked]:
        cover = item.cover or {}
        ranked = sorted(cover, key=lambda name: -cover[name])

        def clearly_more(name: str, other: str | None) -> bool:
            """Also if all pixels without a label are of the other class."""
            return cover[name] > CLEARLY * (cover.get(other or "", 0) + item.unlabelled)

        if ranked and clearly_more(ranked[0], ranked[1] if len(ranked) > 1 else None):
            yield self._asked("cover", "", ranked[0], ranked[0], draws)
        plain = [name for name in ranked if cover[name] >= _PLAIN]
        absent = [n for n in self.vocabulary.covers if not cover.get(n)] if item.whole else []
        for answer, names in (("yes", plain), ("no", absent)):
            for name in draws.sample(names, min(2, len(names))):
                yield self._asked("cover_presence", name, answer, answer, draws, name=name)
        pairs = [(a, b) for a in plain for b in plain if clearly_more(a, b)]
        yield from self._more("cover_comparison", pairs, draws)

    def _more(
        self, task: str, pairs: list[tuple[str, str]], draws: random.Random
    ) -> Iterator[Asked]:
        """Ask of pairs, the greater first in them, in either order."""
        for more, fewer in draws.sample(pairs, min(2, len(pairs))):
            answer = draws.choice(["yes", "no"])
            name, other = (more, fewer) if answer == "yes" else (fewer, more)
            words = {"name": name, "other": other}
            yield self._asked(task, f"{name} > {other}", answer, answer, draws, **words)

    def _objects(self, item: Annotated, draws: random.Random) -> Iterator[Asked]:
        """What is true also where other objects may be there."""
        objects = item.objects
        assert objects is not None  # who calls has looked
        phrases = describe_objects(objects) if not item.partial else ()
        counts = Counter(objects.categories)
        numbers = [*range(len(objects.categories))]
        for number in draws.sample(numbers, min(2, len(numbers))):
            name, box = objects.categories[number], self.form.write(item.corners(number))
            where = _place(item, number)
            yield self._asked("region", "", name, name, draws, box=box)
            phrase = phrases[number] if phrases else None
            if phrase is None and not item.partial and name not in objects.crowds:
                phrase = f"one of {count_phrase(name, counts[name])}"
            said = phrase if phrase and where in phrase else f"{phrase or name}, in the {where}"
            yield self._asked("region_caption", "", where, said, draws, box=box)
            if phrase and not phrase.startswith("one of"):
                yield self._asked("referring", "", where, box, draws, phrase=phrase)

    def _counted(self, item: Annotated, draws: random.Random) -> Iterator[Asked]:
        """What needs all objects to be annotated."""
        objects = item.objects
        assert objects is not None
        counts, crowds = Counter(objects.categories), objects.crowds
        there = sorted({*counts, *crowds})
        absent = [name for name in self.vocabulary.categories if name not in there]
        for answer, names in (("yes", there), ("no", absent)):
            for name in draws.sample(names, min(2, len(names))):
                yield self._asked("presence", name, answer, answer, draws, name=name)
        countable = [name for name in self.vocabulary.categories if name not in crowds]
        none = [name for name in absent if name not in crowds]
        some = [name for name in countable if counts[name]]
        chosen = draws.sample(some, min(2, len(some))) + draws.sample(none, min(1, len(none)))
        for name in chosen:
            answer = str(counts[name])
            yield self._asked("count", name, answer, answer, draws, name=name)
        pairs = [(a, b) for a in countable for b in countable if counts[a] > counts[b]]
        yield from self._more("comparison", pairs, draws)
        for number, name in enumerate(objects.categories):
            if counts[name] == 1 and name not in crowds:
                where = _place(item, number)
                yield self._asked("location", "", where, where, draws, name=name)
        findable = [n for n in there if n not in crowds and counts[n] <= _MOST_BOXES]
        for name in draws.sample(findable, min(2, len(findable))):
            boxes = [
                self.form.write(item.corners(number))
                for number, category in enumerate(objects.categories)
                if category == name
            ]
            yield self._asked("grounding", name, "present", ", ".join(boxes), draws, name=name)
        for name in draws.sample(absent, min(2, len(absent))):
            said = refusal(draws, name)
            yield self._asked("honesty", name, "absent", said, draws, name=name)
        if there and len(absent) >= len(LETTERS) - 1:
            right = draws.choice(there)
            yield from self._choice("object_choice", right, absent, draws)
        for caption in describe_image(objects)[-1:]:
            yield self._asked("caption", "", "", caption, draws)

    def _changes(self, changes: Changes, draws: random.Random) -> Iterator[Asked]:
        answer = "yes" if changes.share else "no"
        yield self._asked("change", "", answer, answer, draws)
        said = describe_changes(changes)
        yield self._asked("change_caption", "", answer, said, draws)


def describe_changes(changes: Changes) -> str:
    """What a mask of changes tells: how many places, how much, where the largest one is."""
    what = changes.kind or "the ground"
    if not changes.share:
        return f"No {what} have changed." if changes.kind else "Nothing has changed."
    percent = 100 * changes.share
    amount = f"about {percent:.0f} percent" if percent >= 1 else "less than one percent"
    x0, y0, x1, y1 = changes.regions[0]
    where = place((x0 + x1) / 2, (y0 + y1) / 2)
    number = len(changes.regions)
    places = "in one place" if number == 1 else f"in {number} places"
    largest = "" if number == 1 else ", the largest"
    verb = "have" if changes.kind else "has"
    said = f"{what} {verb} changed {places}{largest} in the {where}: {amount} of the area."
    return said[:1].upper() + said[1:]


def _place(item: Annotated, number: int) -> str:
    x, y = item.corners(number).mean(axis=0).tolist()
    return place(x, y)
