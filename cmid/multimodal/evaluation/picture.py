"""Questions, answers and drawn boxes in one picture."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from cmid.boxes import Floats
from cmid.evaluation.answers.question import Question
from cmid.files import whole_file
from cmid.multimodal.evaluation.asking import image_of
from cmid.multimodal.evaluation.measuring import Outcome

_SIDE, _TEXT, _GAP, _COLUMNS, _LETTERS = 240, 104, 12, 4, 36
_RIGHT, _WRONG, _TRUE = (0, 120, 40), (190, 30, 30), (20, 200, 60)


def paint_answers(outcome: Outcome, path: Path, *, count: int = 12) -> None:
    """Paint some questions with their answers: true boxes green, named ones red.

    Args:
        count: of pictures at most, spread over the tasks.
    """
    rows = -(-min(count, len(outcome.questions)) // _COLUMNS)
    width, height = _SIDE + _GAP, _SIDE + _TEXT + _GAP
    canvas = PillowImage.new("RGB", (_COLUMNS * width + _GAP, rows * height + _GAP), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(12)
    for number, index in enumerate(_spread(outcome, count)):
        left = _GAP + number % _COLUMNS * width
        top = _GAP + number // _COLUMNS * height
        question, judged = outcome.questions[index], outcome.judged[index]
        canvas.paste(_picture(question, outcome.answers[index]), (left, top))
        y = top + _SIDE + 2
        said = f"> {outcome.answers[index] or '(nothing)'}"
        true = "" if judged.right else f"true: {question.true}"
        lines = ((question.prompt, "black"), (said, _RIGHT if judged.right else _WRONG),
                 (true, "black"))  # fmt: skip
        for text, colour in lines:
            for line in textwrap.wrap(text, _LETTERS)[:3]:
                pen.text((left, y), line, fill=colour, font=font)
                y += 14
    with whole_file(path) as partial:
        canvas.save(partial, format="PNG")


def _spread(outcome: Outcome, count: int) -> list[int]:
    """One question of each task in turn; of rotated choices the first."""
    tasks: dict[str, list[int]] = {}
    groups: set[str] = set()
    for index, question in enumerate(outcome.questions):
        if not question.group or question.group not in groups:
            tasks.setdefault(question.task, []).append(index)
            groups.add(question.group)
    longest = max(map(len, tasks.values()))
    turns = [own[turn] for turn in range(longest) for own in tasks.values() if turn < len(own)]
    return turns[:count]


def _picture(question: Question, answer: str) -> PillowImage.Image:
    pixels = image_of(question).permute(1, 2, 0).numpy()
    painted = PillowImage.fromarray(np.ascontiguousarray(pixels[..., :3]))
    painted = painted.resize((_SIDE, _SIDE), PillowImage.Resampling.BICUBIC)
    pen = ImageDraw.Draw(painted)
    for box in question.boxes:
        _outline(pen, box, _TRUE)
    for box in (question.read_boxes(answer) or []) if question.read_boxes else []:
        _outline(pen, box, _WRONG)
    return painted


def _outline(pen: ImageDraw.ImageDraw, box: Floats, colour: tuple[int, int, int]) -> None:
    points = [tuple(point) for point in (box * _SIDE).tolist()]
    pen.line([*points, points[0]], fill=colour, width=3)
