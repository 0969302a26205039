"""Ask a model all questions of a suite, judge its answers, and set them beside a guesser's."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from cmid.console import warn
from cmid.evaluation.answers.judging import Judgement, judge
from cmid.evaluation.answers.measures import Measure, confusion, measure
from cmid.evaluation.answers.question import Question
from cmid.files import write_json, write_text
from cmid.multimodal.evaluation.asking import Answers, images_of
from cmid.multimodal.evaluation.suite import Suite, grey
from cmid.multimodal.images import Frame
from cmid.reporting import Row, Table


@dataclass(frozen=True)
class Outcome:
    """What a suite showed of a model.

    Attributes:
        model, suite: their names.
        questions, answers, judged: of each question.
        scores: of each task; ``blind`` and ``unseen`` (may be empty) are the same scores of a
            guesser, and of the model before a grey image.
        facts: what a reader has to know, a line each.
        bands: of the images that the model takes.
    """

    model: str
    suite: str
    questions: Sequence[Question]
    answers: Sequence[str]
    judged: Sequence[Judgement]
    scores: Sequence[Measure]
    blind: Sequence[Measure]
    unseen: Sequence[Measure]
    facts: Sequence[str]
    bands: int = 3

    def table(self) -> Table:
        """A row a score."""
        head = ("task", "score", "n", "value", "95 %", "unreadable", "blind", "chance")
        extra = ("grey image",) if self.unseen else ()
        rows = []
        for number, score in enumerate(self.scores):
            low, high = score.interval
            cells = (
                score.name,
                str(score.count),
                _shown(score.value),
                "" if math.isnan(low) else f"{low:.2f}-{high:.2f}",
                f"{score.unreadable:.3f}",
                _shown(self.blind[number].value),
                _shown(score.chance),
            )
            unseen = (_shown(self.unseen[number].value),) if self.unseen else ()
            rows.append(Row(score.task, (*cells, *unseen)))
        return Table((*head, *extra), tuple(rows), texts=2)

    def write(self, folder: Path) -> None:
        """Write ``predictions.jsonl``, a line a question, and ``scores.json``.

        The latter also has, of tasks about classes, the score and the confusion of each class.
        """
        lines = [
            json.dumps(_line(*row), ensure_ascii=False)
            for row in zip(self.questions, self.answers, self.judged, strict=True)
        ]
        write_text(folder / "predictions.jsonl", "\n".join(lines) + "\n")
        scores = [
            _plain(own) | {"blind": _number(blind.value)}
            for own, blind in zip(self.scores, self.blind, strict=True)
        ]
        for row, unseen in zip(scores, self.unseen, strict=False):
            row["grey_image"] = _number(unseen.value)
        about = {"model": self.model, "suite": self.suite, "facts": list(self.facts)}
        tables = confusion([*zip(self.questions, self.judged, strict=True)])
        classes = {task: _per_class(table) for task, table in tables.items()}
        write_json(folder / "scores.json", about | {"scores": scores, "classes": classes})


def evaluate(model: Answers, suite: Suite, *, unseen: bool = False) -> Outcome:
    """Ask, judge, compare.

    Args:
        unseen: ask everything once more about a grey image: what the model knows without a look.
    """
    questions = [_seen_by(model, question) for question in suite.questions]
    answers = _asked(model, questions, suite.name)
    judged = [judge(*pair) for pair in zip(questions, answers, strict=True)]
    without: list[Measure] = []
    if unseen:
        blank = [grey(each, bands=model.bands) for each in questions]
        guesses = _asked(model, blank, f"{suite.name}, grey")
        without = _measured(questions, guesses)
    facts = list(suite.facts)
    if failed := getattr(model, "failed", []):
        facts.append(f"{len(failed)} questions got no answer (counted wrong), first: {failed[0]}")
        warn(facts[-1])
    return Outcome(
        model.name,
        suite.name,
        questions,
        answers,
        judged,
        measure([*zip(questions, judged, strict=True)]),
        _measured(suite.questions, [suite.blind.answer(each) for each in suite.questions]),
        without,
        facts,
        model.bands,
    )


def _measured(questions: Sequence[Question], answers: Sequence[str]) -> list[Measure]:
    return measure([(q, judge(q, text)) for q, text in zip(questions, answers, strict=True)])


def _asked(model: Answers, questions: Sequence[Question], title: str) -> list[str]:
    with tqdm(total=len(questions), desc=title, unit="question", disable=None) as bar:
        return model.answer(questions, bar.update)


def _seen_by(model: Answers, question: Question) -> Question:
    """Boxes of a model that sees a part of the image, or more than it, go there and back."""
    read, move = question.read_boxes, question.move_boxes
    if model.fit == "squash" or (read is None and move is None):
        return question
    frame = Frame(model.fit, *images_of(question, bands=model.bands)[-1].shape[-2:])

    if move is not None:
        question = replace(question, text=move(question.text, frame.to_seen))
    if read is None:
        return question

    def read_whole(text: str) -> Any:
        found = read(text)
        return None if found is None else [frame.to_whole(box) for box in found]

    return replace(question, read_boxes=read_whole)


def _line(question: Question, answer: str, judged: Judgement) -> dict[str, Any]:
    line: dict[str, Any] = {
        "name": question.name,
        "task": question.task,
        "question": question.prompt,
        "true": list(question.answers) or [question.true],
        "answer": answer,
        "right": judged.right,
        "readable": judged.readable,
    }
    return line | ({"overlaps": list(judged.overlaps)} if question.kind == "box" else {})


def _per_class(table: dict[str, dict[str, int]]) -> dict[str, dict[str, Any]]:
    """Of each true class the number of questions, the share that is right, and what was given."""
    return {
        true: {
            "count": sum(given.values()),
            "value": given.get(true, 0) / sum(given.values()),
            "given": given,
        }
        for true, given in table.items()
    }


def _plain(score: Measure) -> dict[str, Any]:
    low, high = score.interval
    return {
        "task": score.task,
        "score": score.name,
        "count": score.count,
        "value": _number(score.value),
        "low": _number(low),
        "high": _number(high),
        "unreadable": score.unreadable,
        "chance": _number(score.chance),
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _shown(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}"
