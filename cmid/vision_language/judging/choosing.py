"""From judgements and true answers to preferences in the published form."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cmid.vision_language.judging.items import Item
from cmid.vision_language.judging.judge import Judgements
from cmid.vision_language.scoring.rewards import plain

_EQUAL = 1e-9  # means of whole numbers


@dataclass(frozen=True)
class Choice:
    """A preference.

    Attributes:
        item: number of the item.
        chosen: best text, or the true answer.
        rejected: worse texts, the best of them first.
        scores: of the chosen and then of the rejected; empty for closed questions.
        ties: texts as good as the chosen one, which are in no pair.
    """

    item: int
    chosen: str
    rejected: tuple[str, ...]
    scores: tuple[float, ...] = ()
    ties: tuple[str, ...] = ()


@dataclass
class Choices:
    """Preferences, and what became none.

    Attributes:
        made: preferences in the order of the items.
        left_out: number of items without a preference, by reason.
        ties: number of candidates as good as the chosen one of their item.
        unclear: wrong-looking answers to closed questions that contain the true one.
    """

    made: list[Choice] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    ties: int = 0
    unclear: int = 0


def choose_best(items: Sequence[Item], judgements: Judgements) -> Choices:
    """The best candidate of each item against the worse ones; wrong answers against true ones."""
    choices = Choices()
    for number, item in enumerate(items):
        if item.answer is not None:
            found = _closed(number, item.answer, item, choices)
        else:
            found = _judged(number, item, judgements, choices)
        if isinstance(found, Choice):
            choices.made.append(found)
        else:
            choices.left_out[found] += 1
    return choices


def _judged(number: int, item: Item, judgements: Judgements, choices: Choices) -> Choice | str:
    if len(item.candidates) < 2:
        return "fewer than two different candidates"
    scored = [(judgements.score(number, text), text) for text in item.candidates]
    # Sorting is stable: among equals, the order of the candidates stays.
    ranked = sorted(
        ((score, text) for score, text in scored if score is not None),
        key=lambda each: -each[0],
    )
    if len(ranked) < 2:
        return "fewer than two judged candidates"
    best, chosen = ranked[0]
    ties = tuple(text for score, text in ranked[1:] if best - score <= _EQUAL)
    worse = ranked[1 + len(ties) :]
    choices.ties += len(ties)
    if not worse:
        return "all candidates are equally good"
    scores = (best, *(score for score, _ in worse))
    return Choice(number, chosen, tuple(text for _, text in worse), scores, ties)


def _closed(number: int, answer: str, item: Item, choices: Choices) -> Choice | str:
    true, wrong = plain(answer), list[str]()
    for text in item.candidates:
        if plain(text) == true:
            continue
        if re.search(rf"(?<!\w){re.escape(answer.lower())}(?!\w)", text.lower()):
            choices.unclear += 1  # "There are 2 ships.", where 2 is true
            continue
        wrong.append(text)
    if not wrong:
        return "no wrong answer to a closed question"
    return Choice(number, answer, tuple(wrong))


def as_published(
    choice: Choice, item: Item, *, image_path: str, judgements: Judgements
) -> dict[str, Any]:
    """The JSON form of ScoreRS (``question``, ``chosen``, ``rejected``, ``image_path``), and more.

    ``kind`` is ``caption``, ``open`` or ``closed``; ``scores``, ``dimensions`` and ``sources`` are
    those of the chosen text and then of each rejected one.
    """
    texts = (choice.chosen, *choice.rejected)
    entry: dict[str, Any] = {"question": item.question} if item.question else {}
    kind = "caption" if not item.question else "closed" if item.answer is not None else "open"
    entry |= {
        "kind": kind,
        "chosen": choice.chosen,
        "rejected": [*choice.rejected],
        "image_path": image_path,
    }
    if choice.scores:
        entry["scores"] = [round(score, 4) for score in choice.scores]
        entry["dimensions"] = [judgements.dimensions(choice.item, text) for text in texts]
    entry["sources"] = [item.candidates.get(text, ["ground truth"]) for text in texts]
    if choice.ties:
        entry["ties"] = [*choice.ties]
    return entry
