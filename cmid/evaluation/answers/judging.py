"""Whether an answer is right, and whether it can be read at all."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from cmid.boxes import polygon_area
from cmid.evaluation.answers.grounding import box_iou, matched_iou, shared_area
from cmid.evaluation.answers.matching import named, normal, read_letter, read_number, same
from cmid.evaluation.answers.question import Question

# An answer that denies: "no", "none", "there is no ship", "it is not in the image", "cannot see";
# "not far from the hangar" denies nothing.
_DENIAL = re.compile(
    r"\b(?:none|nothing|absent|unable"
    r"|(?:no|cannot|(?:is|are|was|were|do|does|did|can|could|am) not"
    r"|(?:isn|aren|wasn|weren|doesn|don|didn|can|couldn) t"
    r"|not (?=(?:present|visible|there|found|shown|seen|any|here|able)\b"
    r"|in (?:image|picture|scene)))"
    r"(?! (?:far|only|just|too|very|quite|close|near|next|doubt|more than|less than)\b))\b"
)
# Who names a place denies nothing.
_PLACE = re.compile(r"[\[{(]\s*<?-?\d")
# Bins of areas in square metres (RSVQA, arXiv:2003.07333), published as "0m2", "between 0m2 and
# 10m2", ..., "more than 1000m2".
_AREAS = (0, 10, 100, 1000)
_BETWEEN = re.compile(r"(\d[\d.,]*)\s*(?:and|to|-|\u2013)\s*(\d[\d.,]*)")
_MORE = re.compile(r"\b(?:more|greater|larger) than\b|\bover\b|\babove\b|>")


@dataclass(frozen=True)
class Judgement:
    """Of one answer.

    Attributes:
        right: whether it is.
        readable: it has the form that was asked for; what cannot be read is wrong.
        given: the class, letter or number that it was read as.
        overlaps: of a grounding question with one box its overlap, else those of matched pairs.
        areas: of a grounding question with one box, what its and the true box share, and cover
            together, in fractions of the image.
        found: number of boxes that it names.
        error: absolute error of a count; nan where it cannot be read.
        relaxed: of an ``exact`` question: right, or naming the true answer and no other one.
    """

    right: bool
    readable: bool = True
    given: str = ""
    overlaps: tuple[float, ...] = ()
    areas: tuple[float, float] = (0.0, 0.0)
    found: int = 0
    error: float = math.nan
    relaxed: bool = False


def judge(question: Question, answer: str) -> Judgement:
    """Judge an answer.

    ``exact`` and ``caption``: the same as a true one, see `cmid.evaluation.answers.same`; an
    ``exact`` answer that is none of those that are known cannot be read.
    ``class``: is or names one of the classes, and the true one. ``choice``: takes the right choice.
    ``count`` and ``area``: names one number, the true one, or one in the same bin of areas, or
    that bin.
    ``box``: names the true boxes with an overlap of 0.5 at least, and no others. ``honesty``:
    denies what is absent, and nothing else. An empty answer is never right.
    """
    return _JUDGES[question.kind](question, answer)


def _exact(question: Question, answer: str) -> Judgement:
    given = normal(answer)
    right = any(same(answer, true) for true in question.answers)
    known = [*question.among, *question.answers]
    readable = any(same(answer, each) for each in known) if question.among else given != ""
    relaxed = right or named(answer, known) in question.answers
    return Judgement(right, readable, given, relaxed=relaxed)


def _caption(question: Question, answer: str) -> Judgement:
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
    given, true = (_area_bin(text) for text in (answer, question.true))
    if given is None or true is None:
        return Judgement(False, False)
    return Judgement(given == true, given=normal(answer))


def _area_bin(text: str) -> int | None:
    """Number of the bin that an area lies in, or that is named; None for none or several."""
    text = re.sub(r"m2|m\u00b2|square met\w+", " ", text.lower())
    if bounds := _BETWEEN.search(text):
        low, high = (read_number(bound.rstrip(".,")) for bound in bounds.groups())
        if low is None or high is None:
            return None
        # A bin has its upper limit, and not its lower one.
        own = _bin(high)
        return own if sum(low >= limit for limit in _AREAS) == own else None
    number = read_number(text)
    if number is None or not _MORE.search(text):
        return None if number is None else _bin(number)
    return len(_AREAS) if number >= _AREAS[-1] else None


def _bin(area: float) -> int:
    return sum(area > limit for limit in _AREAS)


def _box(question: Question, answer: str) -> Judgement:
    assert question.read_boxes is not None
    found, true = question.read_boxes(answer), question.boxes
    if not found and len(true) == 1:
        return Judgement(False, False, overlaps=(0.0,), areas=(0.0, polygon_area(true[0])))
    if not found:
        return Judgement(False, False)
    if len(true) == 1:
        # Of several boxes for one thing the first counts: more of them are no better guess.
        iou, areas = box_iou(found[0], true[0]), shared_area(found[0], true[0])
        return Judgement(iou >= 0.5, True, answer, (iou,), areas, len(found))
    overlaps = tuple(matched_iou(found, true))
    right = len(found) == len(true) and min(overlaps) >= 0.5
    return Judgement(right, True, answer, overlaps, found=len(found))


def _honesty(question: Question, answer: str) -> Judgement:
    if not normal(answer):
        return Judgement(False, False)
    denied = _DENIAL.search(normal(answer)) is not None and not _PLACE.search(answer)
    return Judgement(denied != bool(question.answers), given="denied" if denied else "answered")


_JUDGES: dict[str, Callable[[Question, str], Judgement]] = {
    "exact": _exact,
    "caption": _caption,
    "class": _class,
    "choice": _choice,
    "count": _count,
    "area": _area,
    "box": _box,
    "honesty": _honesty,
}
