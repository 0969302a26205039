"""Models under test: one of ours, one of Hugging Face, or one behind an endpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from torch import Tensor

from cmid.evaluation.answers.question import Question
from cmid.multimodal.folder import is_model, load
from cmid.multimodal.images import Fit, as_pixels
from cmid.multimodal.model import MultimodalModel
from cmid.vision_language.judging.asking import Request, VisionModel, open_model
from cmid.vision_language.judging.config import AskingConfig

# Longest answers: those of the published protocols, and room for a caption and for eight boxes
# whose digits are a token each.
LONGEST = {"class": 20, "exact": 50, "count": 10, "area": 20, "choice": 10, "box": 256}
_LONGEST_CAPTION = 96
Told = Callable[[int], None]


class Answers(Protocol):
    """A model under test.

    Attributes:
        name: its name.
        fit: how it makes a square of an image, which its boxes lie in.
        bands: of the images that it takes.
    """

    name: str
    fit: Fit
    bands: int

    def answer(self, questions: Sequence[Question], told: Told = ...) -> list[str]:
        """Answers in the order of the questions; ``told`` hears how many more there are."""


class OwnModel:
    """A model of this project.

    Args:
        model: the model. name: its name. batch_size: questions at a time. beams: see
            `cmid.multimodal.answering.AnsweringConfig`.
    """

    def __init__(
        self, model: MultimodalModel, *, name: str, batch_size: int = 64, beams: int = 1
    ) -> None:
        self.model, self.name, self.batch_size, self.beams = model, name, batch_size, beams
        self.fit: Fit = model.fit
        self.bands = model.tower.bands

    def answer(self, questions: Sequence[Question], told: Told = lambda _: None) -> list[str]:
        """See `Answers`; the likeliest words."""
        answers = [""] * len(questions)
        for kind in dict.fromkeys(question.kind for question in questions):
            rows = [row for row, question in enumerate(questions) if question.kind == kind]
            # Alike prompts need little padding.
            rows.sort(key=lambda row: len(questions[row].prompt))
            for first in range(0, len(rows), self.batch_size):
                some = rows[first : first + self.batch_size]
                said = self.model.generate(
                    [questions[row].prompt for row in some],
                    [images_of(questions[row], bands=self.bands) for row in some],
                    batch_size=self.batch_size,
                    max_tokens=LONGEST.get(kind, _LONGEST_CAPTION),
                    beams=self.beams,
                )
                for row, text in zip(some, said, strict=True):
                    answers[row] = text
                told(len(some))
        return answers


class OtherModel:
    """A model of Hugging Face or of an endpoint; boxes are read in the whole image.

    It is told the form of answers where the question's own words do not tell it.

    Attributes:
        failed: reasons why questions have no answer.
    """

    fit: Fit = "squash"
    bands = 3

    def __init__(self, model: VisionModel) -> None:
        self.model, self.name = model, model.name
        self.failed: list[str] = []

    def answer(self, questions: Sequence[Question], told: Told = lambda _: None) -> list[str]:
        """See `Answers`; a question that the model failed at has an empty answer."""
        answers = [""] * len(questions)
        for request, reply in self.model.answer(map(_request, range(len(questions)), questions)):
            if reply.error:
                self.failed.append(reply.error)
            answers[request.about[0]] = reply.text.strip()
            told(1)
        return answers


def open_answers(spec: str, config: AskingConfig, *, beams: int = 1) -> Answers:
    """The model of a folder of this project, of Hugging Face, or ``openai:NAME``.

    Args:
        beams: of a model of this project.

    Raises:
        FileNotFoundError, ModuleNotFoundError, OSError, ValueError: it cannot be opened, or has no
            beams.
    """
    if is_model(spec):
        model = load(spec)
        if config.device is not None:
            model = model.to(config.device)
        return OwnModel(model, name=spec, batch_size=config.batch_size, beams=beams)
    if beams > 1:
        raise ValueError(f"--beams {beams} are for models of this project, which {spec} is not")
    return OtherModel(open_model(spec, config))


def images_of(question: Question, *, bands: int = 3) -> tuple[Tensor, ...]:
    """The images of a question, ``(bands, H, W)`` each, of any sizes.

    Raises:
        FileNotFoundError, ValueError: an image that cannot be read, or of other bands; the question
            is named.
    """
    given = question.image if isinstance(question.image, tuple) else (question.image,)
    try:
        return tuple(as_pixels(each() if callable(each) else each, bands=bands) for each in given)
    except ValueError as error:
        raise ValueError(f"{question.name}: {error}") from error


def _request(number: int, question: Question) -> Request:
    """A request that reads its images when it is its turn."""
    given = question.image if isinstance(question.image, tuple) else (question.image,)
    first, *more = (partial(_image, question, each) for each in given)
    prompt = f"{question.prompt} {question.form}".strip()
    return Request((number,), first, question.name, prompt, more=tuple(more))


def _image(question: Question, image: Any) -> Tensor:
    return images_of(replace(question, image=image))[0]
