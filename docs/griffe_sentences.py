"""How griffe reads our docstrings, where Google's style is stricter than plain sentences."""

from __future__ import annotations

import re
from typing import Any

import griffe

_RETURNS = re.compile(r"^( *(?:Returns|Yields):\n +)(?=\S)", re.MULTILINE)


class Sentences(griffe.Extension):
    """Returned values are described by sentences, their type is that of the signature.

    griffe would take what stands before the first colon of a sentence for a type.
    """

    def on_function(self, *, func: griffe.Function, **kwargs: Any) -> None:
        if func.docstring is not None:
            func.docstring.value = _RETURNS.sub(r"\1: ", func.docstring.value)
