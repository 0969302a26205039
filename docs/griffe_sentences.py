"""How griffe reads our docstrings, where they differ from Google's style and from Markdown."""

from __future__ import annotations

import re
from typing import Any

import griffe
from latex2mathml.converter import convert

_RETURNS = re.compile(r"^((?:Returns|Yields):\n +)(?=\S)", re.MULTILINE)
_FORMULA = re.compile(r"^\.\. math::((?:.*\n(?: +\S.*\n)*))", re.MULTILINE)
_USAGE = re.compile(r"^usage: (.*)$", re.MULTILINE)
_ROLE = re.compile(r":(\w+):`([^`]+)`")


class Sentences(griffe.Extension):
    """Returned values in sentences, formulas and roles.

    griffe would take what stands before the first colon of a sentence for the type of the returned
    value; the signature tells it. Formulas become MathML, which browsers show by themselves. The
    brackets of a usage are no links.
    """

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            text = _RETURNS.sub(r"\1: ", obj.docstring.value)
            text = _USAGE.sub(r"usage: `\1`", text)
            text = _FORMULA.sub(lambda formula: _mathml(formula[1], "block") + "\n", text)
            obj.docstring.value = _ROLE.sub(_role, text)


def _role(match: re.Match[str]) -> str:
    return _mathml(match[2], "inline") if match[1] == "math" else f"`{match[2]}`"


def _mathml(latex: str, display: str) -> str:
    return convert(" ".join(latex.split()), display=display)
