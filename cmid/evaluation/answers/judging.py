"""Whether an answer is right, and whether it can be read at all."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from cmid.evaluation.answers.grounding import box_iou, matched_iou
from cmid.evaluation.answers.matching import named, normal, read_letter, read_number, same
from cmid.evaluation.answers.question import Question

# An answer that denies: "no", "none", "there is no ship", "it is not in the image", "cannot see".
_DENIAL = re.compile(r"\b(no|none|not|nothing|cannot|can t|isn t|aren t|doesn t|absent|unable)\b")
# Bins of areas in square metres (RSVQA, arXiv:2003.07333).
_AREAS = (0, 10, 100, 1000)


@dataclass(frozen=True)
class Judgement:
    """Of one answer.

    Attributes:
        right: whether it is.
        readable: it has the form that was asked for; what cannot be read is wrong.
        given: the class, letter or number that it was read as.
        overlaps: of a grounding question with one box its overlap, else those of matched pairs.
        found: number of boxes that it names.
        error: absolute error of a count; nan where it cannot be read.
    """

    right: bool
    readable: bool = True
    given: str = ""
    overlaps: tuple[float, ...] = ()
    found: int = 0
    error: float = math.nan


def judge(question: Question, answer: str) -> Judgement:
    """Judge an answer.

    ``exact`` and ``caption``: the same as a true one, see `cmid.evaluation.answers.same`.
    ``class``: is or names one of the classes, and the true one. ``choice``: takes the right choice.
    ``count`` and ``area``: names one number, the true one, or one in the same bin of areas.
    ``box``: names the true boxes with an overlap of 0.5 at least, and no others. ``honesty``:
    denies what is absent, and nothing else. An empty answer is never right.
    """
    return _JUDGES[question.kind](question, answer)


def _exact(question: Question, answer: str) -> Judgement:
    given = normal(answer)
    return Judgement(any(same(answer, true) for true in question.answers), given != "", given)


def _class(question: Question, answer: str) -> Judgement:
    given = named(answer, question.among)
    return Judgement(given in question.answers, given is not None, given or "")


def _choice(question: Question, answer: str) -> Judgement:
    chosen = read_letter(answer, question.among)
    if chosen is None:
        return Judgement(False, False)
    return Judgement(question.among[chosen] in question.answers, given=question.among[chosen])


def _count(question: Question, answer: str) -> Judgement:
    number, true = read_number(answer), read_number(question.true)
    if number is None or true is None:
        return Judgement(False, False)
    return Judgement(number == true, given=f"{number:g}", error=abs(number - true))


def _area(question: Question, answer: str) -> Judgement:
    number, true = (_square_metres(text) for text in (answer, question.true))
    if number is None or true is None:
        return Judgement(False, False)
    return Judgement(_bin(number) == _bin(true), given=f"{number:g}")


def _square_metres(text: str) -> float | None:
    return read_number(re.sub(r"m2|m\u00b2|square met\w+", " ", text.lower()))


def _bin(area: float) -> int:
    return sum(area > limit for limit in _AREAS)


def _box(question: Question, answer: str) -> Judgement:
    assert question.read_boxes is not None
    found, true = question.read_boxes(answer), question.boxes
    if not found:
        return Judgement(False, False, overlaps=(0.0,) * (len(true) == 1))
    if len(true) == 1:
        # Of several boxes for one thing the first counts: more of them are no better guess.
        iou = box_iou(found[0], true[0])
        return Judgement(iou >= 0.5, True, answer, (iou,), len(found))
    overlaps = tuple(matched_iou(found, true))
    right = len(found) == len(true) and min(overlaps) >= 0.5
    return Judgement(right, True, answer, overlaps, len(found))


def _honesty(question: Question, answer: str) -> Judgement:
    if not normal(answer):
        return Judgement(False, False)
    denied = _DENIAL.search(normal(answer)) is not None
    return Judgement(denied != bool(question.answers), given="denied" if denied else "answered")


_JUDGES: dict[str, Callable[[Question, str], Judgement]] = {
    "exact": _exact,
    "caption": _exact,
    "class": _class,
    "choice": _choice,
    "count": _count,
    "area": _area,
    "box": _box,
    "honesty": _honesty,
}
