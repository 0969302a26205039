"""Texts with a place for a name, such as ``a satellite image of {}``."""

from __future__ import annotations

import re
from collections.abc import Sequence

PLACE = "{}"


def check_templates(templates: Sequence[str]) -> tuple[str, ...]:
    """Templates as they are.

    Raises:
        ValueError: there is none, or one has no ``{}``.
    """
    if not templates:
        raise ValueError("templates: are empty, give at least one text with {} for the name")
    for template in templates:
        if PLACE not in template:
            named = re.search(r"\{\w+\}", template)
            instead = f" in the place of {named[0]}" if named else ""
            raise ValueError(f"templates: {template!r} has no {{}} for the name{instead}")
    return tuple(templates)


def fill_templates(templates: Sequence[str], name: str) -> tuple[str, ...]:
    """The templates with a name put in."""
    return tuple(template.replace(PLACE, name) for template in templates)
