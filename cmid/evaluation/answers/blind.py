"""Answers without a look: what is most often true of a question in the training data."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

import numpy as np

from cmid.boxes import Floats
from cmid.evaluation.answers.question import Question


class BlindAnswers:
    """The most frequent answer to the same question text, or else of the same task.

    Of boxes it is the median box, per phrase: the text of the question.

    Args:
        questions: of the training data.
        write_box: writes ``(2, 2)`` corners as an answer; needed for boxes.
    """

    def __init__(
        self,
        questions: Iterable[Question],
        *,
        write_box: Callable[[Floats], str] | None = None,
    ) -> None:
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        boxes: dict[str, list[Floats]] = defaultdict(list)
        for question in questions:
            for key in (f"{question.task}\n{question.text}", question.task):
                if question.kind == "box":
                    boxes[key] += [_upright(box) for box in question.boxes]
                else:
                    counts[key][question.true] += 1
        self._answers = {key: counter.most_common(1)[0][0] for key, counter in counts.items()}
        if boxes and write_box is None:
            raise ValueError("a blind answer about boxes needs write_box")
        for key, each in boxes.items():
            assert write_box is not None
            self._answers[key] = write_box(np.median(each, axis=0))

    def answer(self, question: Question) -> str:
        """The answer; empty for a task that the training data does not know."""
        own = self._answers.get(f"{question.task}\n{question.text}")
        return self._answers.get(question.task, "") if own is None else own


def _upright(box: Floats) -> Floats:
    return np.stack([box.min(axis=0), box.max(axis=0)])
