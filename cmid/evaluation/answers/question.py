"""A question to a model that sees, and what is true."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from cmid.boxes import Floats

Kind = Literal["exact", "class", "choice", "count", "area", "box", "caption", "honesty"]
DENIAL = "there is none"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, eq=False)
class Question:
    """One question about one image, or about several.

    Attributes:
        task: questions of a task share a score.
        kind: how answers are judged, see `cmid.evaluation.answers.judge`.
        text: the question; of a ``choice`` without the listed choices where `listed` adds them.
        answers: true answers, each of them right; of a ``choice`` the text of the right one; of
            ``honesty`` none where what is asked after is absent.
        name: names image and question in files and messages.
        image: what `cmid.multimodal.images.as_pixels` takes, or a function that gives it; of a
            question about several images a tuple of those, in their order.
        among: classes or choices.
        boxes: true boxes, ``(K, 2)`` corners in fractions of the image.
        read_boxes: reads the boxes of an answer; None: it cannot be read.
        move_boxes: writes a text anew whose boxes are moved by a function of corners; None where
            no box stands in questions.
        form: words on the form of the answer, for models that were not taught it.
        group: questions that differ in the order of their choices alone share it.
        listed: writes question and choices.
        also: further tasks whose scores it counts in.
    """

    task: str
    kind: Kind
    text: str
    answers: tuple[str, ...] = ()
    name: str = ""
    image: Any = None
    among: tuple[str, ...] = ()
    boxes: tuple[Floats, ...] = ()
    read_boxes: Callable[[str], list[Floats] | None] | None = None
    move_boxes: Callable[[str, Callable[[Floats], Floats]], str] | None = None
    form: str = ""
    group: str = ""
    listed: Callable[[str, tuple[str, ...]], str] | None = None
    also: tuple[str, ...] = ()

    @property
    def prompt(self) -> str:
        """What the model reads."""
        return self.text if self.listed is None else self.listed(self.text, self.among)

    @property
    def true(self) -> str:
        """The answer that a model is taught; of a ``choice`` its letter."""
        if self.kind == "choice":
            return LETTERS[self.among.index(self.answers[0])]
        return self.answers[0] if self.answers else DENIAL


def rotations(question: Question) -> Iterator[Question]:
    """A choice in all rotations of its choices, as CircularEval asks (arXiv:2307.06281)."""
    for turn in range(len(question.among)):
        among = question.among[turn:] + question.among[:turn]
        yield replace(question, among=among, group=question.group or question.name)
