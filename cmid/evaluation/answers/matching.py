"""When two answers are the same, and which class, letter or number an answer names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_ARTICLES = ("a", "an", "the")
_WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen"),
    *("nineteen", "twenty"),
)
_NUMBER_OF = {word: str(number) for number, word in enumerate(_WORDS)}
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
# What is neither letter nor digit, but for the point and the sign of a number.
_BETWEEN = re.compile(r"(?!(?<=\d)\.(?=\d))(?!(?<![^\s(])-(?=\d))[\W_]+?")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_PREFIX = re.compile(
    r"\s*(?:the\s+)?(?:correct\s+|best\s+)?answer(?:\s+is)?\s*:?\s*", re.IGNORECASE
)
_LETTER = re.compile(r"\(?([A-Za-z])(?:[).:]+|\s*$)\s*(.*)", re.DOTALL)


def normal(text: str) -> str:
    """An answer as answers are compared, after VQAv2's protocol.

    Case, punctuation, ``_`` and ``-``, articles and white space do not count; ``three`` is ``3``,
    ``1,000`` is ``1000``.
    """
    text = _THOUSANDS.sub("", unicodedata.normalize("NFC", text).lower())
    words = _BETWEEN.sub(" ", text).split()
    kept = [_NUMBER_OF.get(word, word) for word in words if word not in _ARTICLES]
    return " ".join(kept or words)


def same(answer: str, true: str) -> bool:
    """Whether two answers are the same, see `normal`; an empty one is never right."""
    given = normal(answer)
    return given != "" and given == normal(true)


def contains(answer: str, true: str) -> bool:
    """Whether the true answer stands in an answer as whole words: a relaxed protocol."""
    wanted = normal(true)
    return wanted != "" and f" {wanted} " in f" {normal(answer)} "


def named(answer: str, names: Sequence[str]) -> str | None:
    """The one of some names that an answer is, or holds as whole words; None for none or several.

    A name within a longer one that is there (``residential`` in ``dense residential``) is not
    named by it. Spaces within a name do not count: ``BareLand`` is ``bare land``.
    """
    text = f" {normal(answer)} "
    found = []
    for name in sorted(names, key=lambda each: -len(normal(each))):
        forms = {f" {normal(name)} ", f" {_joined(name)} "}
        if any(form.strip() and form in text for form in forms):
            found.append(name)
            for form in forms:
                text = text.replace(form, " | ")
    if not found:
        found = [name for name in names if _joined(name) and _joined(name) == _joined(answer)]
    return found[0] if len(found) == 1 else None


def _joined(text: str) -> str:
    return normal(text).replace(" ", "")


def read_letter(answer: str, choices: Sequence[str]) -> int | None:
    """Which choice an answer takes: ``B``, ``(b)``, ``B. text``, or the text of one choice.

    Returns:
        Index of the choice; None for none, several, or a letter with the text of another choice.
    """
    answer = answer.strip()
    answer = answer[found.end() :] if (found := _PREFIX.match(answer)) else answer
    of_text = named(answer, choices)
    text = None if of_text is None else choices.index(of_text)
    found = _LETTER.fullmatch(answer)
    if found is None:
        return text
    letter = ord(found[1].upper()) - ord("A")
    if letter >= len(choices) or (text is not None and text != letter and found[2]):
        return None
    return letter


def read_number(answer: str) -> float | None:
    """The one number of an answer, in digits or in words up to twenty; None for none or several."""
    numbers = _NUMBER.findall(normal(answer))
    return float(numbers[0]) if len(numbers) == 1 else None
