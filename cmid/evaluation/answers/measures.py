"""Scores of a task from its judged answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cmid.evaluation.answers.judging import Judgement
from cmid.evaluation.answers.matching import normal
from cmid.evaluation.answers.question import Question
from cmid.evaluation.intervals import Interval, bootstrap, proportion

Judged = Sequence[tuple[Question, Judgement]]


@dataclass(frozen=True)
class Measure:
    """A score of a task.

    Attributes:
        task, name: which score of which task.
        count: answers, or groups of them, that it is about.
        value: the score; nan of no answers.
        interval: of 95 %.
        unreadable: share of answers that could not be read (and are wrong).
        chance: of a guess among what there is to choose from; nan where that has no meaning.
    """

    task: str
    name: str
    count: int
    value: float
    interval: Interval
    unreadable: float
    chance: float = math.nan


def measure(judged: Judged) -> list[Measure]:
    """The scores of each task, in the order in which tasks come first."""
    tasks: dict[str, list[tuple[Question, Judgement]]] = {}
    for question, judgement in judged:
        for task in (question.task, *question.also):
            tasks.setdefault(task, []).append((replace(question, task=task), judgement))
    return [found for own in tasks.values() for found in _measures(own)]


def confusion(judged: Judged) -> dict[str, dict[str, dict[str, int]]]:
    """Of each task about classes: how often each true class was answered by which.

    Returns:
        Counts by task, true class and given class; what cannot be read is given as an empty text.
    """
    tasks: dict[str, dict[str, dict[str, int]]] = {}
    for question, judgement in judged:
        if question.kind == "class":
            row = tasks.setdefault(question.task, {}).setdefault(question.answers[0], {})
            row[judgement.given] = row.get(judgement.given, 0) + 1
    return tasks


def _measures(judged: Judged) -> Iterator[Measure]:
    kinds = {question.kind for question, _ in judged}
    kind = judged[0][0].kind if len(kinds) == 1 else "mixed"
    if kind == "choice":
        yield from _choices(judged)
    elif kind == "box" and any(len(question.boxes) != 1 for question, _ in judged):
        yield from _several_boxes(judged)
    elif kind == "box":
        overlaps = np.array([judgement.overlaps[0] for _, judgement in judged])
        yield _share(judged, "IoU >= 0.5", overlaps >= 0.5)
        yield _share(judged, "IoU >= 0.7", overlaps >= 0.7)
        yield _mean(judged, "mean IoU", overlaps)
        yield _cumulative(judged)
    elif kind == "honesty":
        yield from _honesty(judged)
    else:
        name = {"caption": "a true one", "count": "exact"}.get(kind, "accuracy")
        right = np.array([judgement.right for _, judgement in judged])
        yield _share(judged, name, right, chance=_chance(judged))
        if kind == "class" or (kind == "exact" and all(question.among for question, _ in judged)):
            yield _balanced(judged)
        if kind == "exact" and all(question.among for question, _ in judged):
            relaxed = np.array([judgement.relaxed for _, judgement in judged])
            yield _share(judged, "relaxed match", relaxed, chance=_chance(judged))
        if kind == "caption":
            yield from _captions(judged)
        if kind == "count":
            errors = np.array([judgement.error for _, judgement in judged])
            yield _share(judged, "within 1", errors <= 1)
            yield _mean(judged, "mean error", errors[~np.isnan(errors)])


def _captions(judged: Judged) -> Iterator[Measure]:
    """BLEU-4 of all, mean ROUGE-L and CIDEr, against all references, words as in `normal`.

    CIDEr (arXiv:1411.5726), whose weights are of the references of all, is left out where the
    extra ``captions`` is not installed.
    """
    from torchmetrics.functional.text import bleu_score, rouge_score

    said = [judgement.given for _, judgement in judged]
    true = [[*map(normal, question.answers)] for question, _ in judged]
    unknown = (math.nan, math.nan)
    yield _measure(judged, "BLEU-4", len(said), float(bleu_score(said, true)), unknown)
    rouge = [
        float(rouge_score(*pair, accumulate="best", rouge_keys="rougeL")["rougeL_fmeasure"])
        for pair in zip(said, true, strict=True)
    ]
    yield _mean(judged, "ROUGE-L", np.array(rouge))
    try:
        from pycocoevalcap.cider.cider import Cider
    except ModuleNotFoundError:
        return
    _, each = Cider().compute_score(
        dict(enumerate(true)), {number: [words] for number, words in enumerate(said)}
    )
    yield _mean(judged, "CIDEr", np.array(each))


def _choices(judged: Judged) -> Iterator[Measure]:
    """Accuracy of questions as they were first asked, and in all rotations."""
    groups: dict[str, list[bool]] = {}
    firsts: list[tuple[Question, Judgement]] = []
    for question, judgement in judged:
        key = question.group or question.name
        if key not in groups:
            firsts.append((question, judgement))
        groups.setdefault(key, []).append(judgement.right)
    right = np.array([judgement.right for _, judgement in firsts])
    yield _share(judged, "accuracy", right, chance=_chance(firsts))
    turns = {key: len(each) for key, each in groups.items()}
    if max(turns.values()) > 1:
        circular = np.array([all(each) for each in groups.values()])
        # A guess is right in every rotation.
        chance = float(np.mean([(1 / turn) ** turn for turn in turns.values()]))
        yield _share(judged, "circular", circular, chance=chance)


def _cumulative(judged: Judged) -> Measure:
    """What all boxes share, of all that they cover: large ones count more."""
    areas = np.array([judgement.areas for _, judgement in judged])

    def ratio(rows: NDArray[np.int64]) -> float:
        shared, either = areas[rows].sum(axis=0)
        return float(shared / either) if either else 0.0

    return _any(judged, "cumulative IoU", ratio)


def _several_boxes(judged: Judged) -> Iterator[Measure]:
    hits = np.array([sum(iou >= 0.5 for iou in judgement.overlaps) for _, judgement in judged])
    found = np.array([judgement.found for _, judgement in judged])
    true = np.array([len(question.boxes) for question, _ in judged])
    for name, total in (("precision", found), ("recall", true), ("F1", (found + true) / 2)):

        def ratio(rows: NDArray[np.int64], total: NDArray[np.float64] = total) -> float:
            return float(hits[rows].sum() / max(1.0, total[rows].sum()))

        yield _any(judged, f"{name} at IoU 0.5", ratio)


def _honesty(judged: Judged) -> Iterator[Measure]:
    denied = np.array([judgement.given == "denied" for _, judgement in judged])
    absent = np.array([not question.answers for question, _ in judged])
    yield _share(judged, "denied of the absent", denied[absent])
    yield _share(judged, "denied of the present", denied[~absent])


def _balanced(judged: Judged) -> Measure:
    """Mean over true classes of the share that is right."""
    names = {question.answers[0]: 0 for question, _ in judged}
    labels = np.array([[*names].index(question.answers[0]) for question, _ in judged])
    right = np.array([judgement.right for _, judgement in judged], dtype=float)

    def recall(rows: NDArray[np.int64]) -> float:
        counts = np.bincount(labels[rows], minlength=len(names))
        hits = np.bincount(labels[rows], right[rows], minlength=len(names))
        return float((hits[counts > 0] / counts[counts > 0]).mean())

    return _any(judged, "balanced", recall, chance=_chance(judged))


def _chance(judged: Judged) -> float:
    among = [len(question.among) for question, _ in judged]
    return float(np.mean([1 / count for count in among])) if all(among) else math.nan


def _share(
    judged: Judged, name: str, right: NDArray[np.bool_], *, chance: float = math.nan
) -> Measure:
    value = float(right.mean()) if len(right) else math.nan
    own = proportion(int(right.sum()), len(right))
    return _measure(judged, name, len(right), value, own, chance)


def _mean(judged: Judged, name: str, values: NDArray[np.float64]) -> Measure:
    value = float(values.mean()) if len(values) else math.nan
    own = bootstrap(lambda rows: float(values[rows].mean()), len(values))
    return _measure(judged, name, len(values), value, own)


def _any(
    judged: Judged,
    name: str,
    statistic: Callable[[NDArray[np.int64]], float],
    *,
    chance: float = math.nan,
) -> Measure:
    own, value = bootstrap(statistic, len(judged)), statistic(np.arange(len(judged)))
    return _measure(judged, name, len(judged), value, own, chance)


def _measure(
    judged: Judged,
    name: str,
    count: int,
    value: float,
    interval: Interval,
    chance: float = math.nan,
) -> Measure:
    unreadable = sum(not judgement.readable for _, judgement in judged) / len(judged)
    return Measure(judged[0][0].task, name, count, value, interval, unreadable, chance)
