"""Questions, answers and drawn boxes in one picture."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont
from torch import Tensor

from cmid.boxes import Floats
from cmid.evaluation.answers.question import Question
from cmid.files import whole_file
from cmid.multimodal.evaluation.asking import images_of
from cmid.multimodal.evaluation.measuring import Outcome
from cmid.visualization.stretching import stretched

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
        picture = _picture(question, outcome.answers[index], bands=outcome.bands)
        canvas.paste(picture, (left, top))
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


def _picture(question: Question, answer: str, *, bands: int) -> PillowImage.Image:
    """The images beside each other; boxes are those of the last."""
    images = images_of(question, bands=bands)
    side = _SIDE // len(images)
    canvas = PillowImage.new("RGB", (_SIDE, _SIDE), "white")
    for number, image in enumerate(images):
        small = _visible(image).resize((side, side), PillowImage.Resampling.BICUBIC)
        if number == len(images) - 1:
            pen = ImageDraw.Draw(small)
            for box in question.boxes:
                _outline(pen, box * side, _TRUE)
            for box in (question.read_boxes(answer) or []) if question.read_boxes else []:
                _outline(pen, box * side, _WRONG)
        canvas.paste(small, (number * side, 0))
    return canvas


def _visible(image: Tensor) -> PillowImage.Image:
    """The first three bands, or the first alone; values of more than 8 bits are stretched."""
    shown = image[:3].numpy() if len(image) >= 3 else image[:1].repeat(3, 1, 1).numpy()
    shown = shown if shown.dtype == np.uint8 else stretched(shown)
    return PillowImage.fromarray(np.ascontiguousarray(shown.transpose(1, 2, 0)))


def _outline(pen: ImageDraw.ImageDraw, box: Floats, colour: tuple[int, int, int]) -> None:
    points = [tuple(point) for point in box.tolist()]
    pen.line([*points, points[0]], fill=colour, width=3)
