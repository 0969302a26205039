"""How questions of published data sets are put to a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Style = Literal["plain", "lhrs_bot", "nova"]
_BOX = "Answer with its box [x0,y0,x1,y1]"


@dataclass(frozen=True)
class Prompts:
    """Words around questions.

    Attributes:
        style: as models of LHRS-Bot or of LHRS-Bot-Nova were trained (arXiv:2402.02544,
            arXiv:2411.09301), or plain words that tell the form of an answer to any model.
        cells: per side of the image in the numbers of boxes, 1 for fractions.
    """

    style: Style = "plain"
    cells: int = 1

    def classification(self, classes: Sequence[str]) -> str:
        """Ask for one of the classes."""
        if self.style == "plain":
            return f"Which of these is it: {', '.join(classes)}? Answer with one of them."
        return f"[CLS] Choose the best categories describe the image from: {[*classes]}"  # sic

    def vqa(self, question: str) -> str:
        """A question that a word or a number answers."""
        if self.style == "lhrs_bot":
            return f"[VQA] {question}"
        if self.style == "nova":
            return f"[CONSIZE] {question} Answer in a single word. Answer:"  # sic
        return f"{question} Answer with one word or number."

    def grounding(self, question: str) -> str:
        """A question after a place; tags of published questions are left out or changed."""
        words = question.replace("<image>", "").strip().removeprefix("[VG]").strip()
        if self.style == "plain":
            grid = "fractions of width and height" if self.cells == 1 else f"0 to {self.cells}"
            return f"{words} {_BOX}, {grid}."
        return f"{'[VG]' if self.style == 'lhrs_bot' else '[DET]'} {words}"

    def choice(self, question: str, choices: Sequence[str]) -> str:
        """A question with its choices behind letters, as LHRS-Bench puts it."""
        listed = " ".join(f"{chr(65 + k)}. {text}" for k, text in enumerate(choices))
        return (
            f"{question}\nChoices: {listed} Answer from the given choices with A., B., C., D., etc."
        )
