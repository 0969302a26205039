"""Wording of what lies in an image: counts, lists, places."""

from __future__ import annotations

from collections.abc import Sequence

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
CLEARLY = 1.1
"""So many times as much is said to be more, or the most; what is closer is not told apart."""


def count_phrase(category: str, count: int) -> str:
    """``two ships``, ``one plane``, ``23 buildings``."""
    number = _NUMBERS[count] if count < len(_NUMBERS) else str(count)
    return f"{number} {category if count == 1 else plural(category)}"


def plural(noun: str) -> str:
    """``ships``, ``buses``, ``overpasses``, ``ferries``; names that are plural already stay."""
    if noun.endswith(("ss", "us", "is", "x", "z", "ch", "sh")):
        return f"{noun}es"
    if noun.endswith("s"):
        return noun
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"


def joined(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def place(x: float, y: float) -> str:
    """Which ninth of the image holds a point, given in fractions of width and height."""
    row = ("upper", "", "lower")[min(2, int(3 * y))]
    column = ("left", "", "right")[min(2, int(3 * x))]
    if row and column:
        return f"{row} {column}"
    return {"upper": "upper middle", "lower": "lower middle"}.get(row, f"{column} middle".strip())
