"""Fields of dataclasses that are options of a command, see `cmid.command_line`."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import MISSING, field
from typing import Any


def option(default: Any = MISSING, **settings: Any) -> Any:
    """An option that differs from what its type says; without a default it has to be given.

    Args:
        settings: arguments of ``ArgumentParser.add_argument``, such as ``metavar``; they win.
    """
    if default is MISSING:
        return field(metadata={"option": settings}, kw_only=True)
    return field(default=default, metadata={"option": settings})


def at_least(least: float, most: float = math.inf) -> Callable[[Any], Callable[[Any], Any]]:
    """The range of a number: ``Annotated[int, at_least(1)]``."""
    return lambda kind: reader(kind, least, most)


def reader(kind: Any, least: float = -math.inf, most: float = math.inf) -> Callable[[Any], Any]:
    """What makes a number in a range of a word, or refuses it by ``ArgumentTypeError``."""
    name = "whole number" if kind is int else "number"
    if least > -math.inf:
        name += f" of {least:g} or more" if most == math.inf else f" from {least:g} to {most:g}"

    def read(text: Any) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a {name}")
        return value

    return read
