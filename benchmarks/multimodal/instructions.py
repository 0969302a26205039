"""Conversations that tools/make_instructions.py wrote, as questions with true answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.multimodal.files import Entries
from benchmarks.multimodal.readers import listed_choices, with_known_answers
from cmid.evaluation.answers.question import Kind, Question
from cmid.multimodal.boxes import BoxForm
from cmid.multimodal.conversation import IMAGE, Conversation
from cmid.multimodal.data.files import read_rows
from cmid.multimodal.evaluation.suite import answer_form

_YES_NO = ("yes", "no")
# Of each task whose answers are not to be the same as the true one.
_KIND: dict[str, Kind] = {
    **dict.fromkeys(("choice", "object_choice"), "choice"),
    **dict.fromkeys(("grounding", "referring"), "box"),
    **dict.fromkeys(("caption", "region_caption", "change_caption"), "caption"),
    **dict.fromkeys(("classification", "region"), "class"),
    "count": "count",
    "honesty": "honesty",
}


def read_instructions(path: Path, entries: Entries, *, cells: int = 1) -> Iterator[Question]:
    """Every turn as a question of its own; captions of one image are the true ones of one question.

    Where absent things are asked for (``honesty``), so are present ones: a model that denies all
    is seen.

    Args:
        cells: how boxes are written, as ``--box_cells`` of the command that made the file.

    Raises:
        FileNotFoundError, ValueError: no such file, or another form.
    """
    form = BoxForm(cells)
    found: list[Question] = []
    captions: dict[Any, int] = {}  # by the image, or the images
    for number, row in enumerate(read_rows(path)):
        with entries.entry(f"{path.name}: entry {number}"):
            for own in [*_questions(row, f"entry {number}", entries, form)]:
                first = captions.get(own.image) if own.task == "caption" else None
                if first is not None:
                    answers = dict.fromkeys((*found[first].answers, *own.answers))
                    found[first] = replace(found[first], answers=tuple(answers))
                    continue
                if own.task == "caption":
                    captions[own.image] = len(found)
                found.append(own)
    if any(question.task == "honesty" for question in found):
        present = [
            replace(question, task="honesty", kind="honesty", boxes=(), read_boxes=None)
            for question in found
            if question.task == "grounding"
        ]
        found += present
    for question in with_known_answers(found):
        yield replace(question, form=answer_form(question, form))


def _questions(row: Any, where: str, entries: Entries, form: BoxForm) -> Iterator[Question]:
    if not isinstance(row, Mapping):
        raise ValueError("it is no JSON object")
    paths = [row["image"]] if isinstance(row["image"], str) else [*row["image"]]
    tasks, images = row["tasks"], tuple(entries.image(str(path)) for path in paths)
    if not images:
        raise ValueError("it has no image")
    image = images[0] if len(images) == 1 else images
    turns = Conversation.of(row["conversations"], images=len(images)).turns
    if len(tasks) != len(turns):
        raise ValueError(f"it names {len(tasks)} tasks for {len(turns)} questions")
    for number, (task, turn) in enumerate(zip(tasks, turns, strict=True)):
        text, answer = turn.question.replace(IMAGE, "").strip(), str(turn.answer)
        name = f"{row.get('id', where)}/{number}"
        kind = _KIND.get(task, "exact")
        among = _YES_NO if task == "change" else ()
        question = Question(task, kind, text, (answer,), name, image, among, move_boxes=form.moved)
        if kind == "choice":
            choices = listed_choices(text)
            stem = text[: text.index(" A. ")] if " A. " in text else text
            yield replace(
                question, text=stem, answers=(choices[answer],), among=tuple(choices.values()),
                listed=_listed,
            )  # fmt: skip
        elif kind == "box":
            boxes = form.parse(answer)
            if outside := form.outside(answer):
                raise ValueError(
                    f"box {outside} is outside of an image of {form.cells} cells a side: give the"
                    " grid of the file with --cells"
                )
            if not boxes:
                raise ValueError(f"no box in the answer to {text!r}")
            yield replace(question, boxes=tuple(boxes), read_boxes=form.parse)
        else:
            yield replace(question, answers=()) if kind == "honesty" else question


def _listed(text: str, choices: tuple[str, ...]) -> str:
    """A question with its choices, as instructions are written."""
    return f"{text} {' '.join(f'{chr(65 + k)}. {each}' for k, each in enumerate(choices))}"
