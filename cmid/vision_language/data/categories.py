"""From names of categories to texts."""

from __future__ import annotations

import re
from collections.abc import Sequence

CATEGORY_TEMPLATES = (
    "a satellite image of {category}",
    "an aerial image of {category}",
    "an overhead view of {category}",
    "{category} seen from above",
)


def category_text(name: str) -> str:
    """``storage_tank`` and ``Storage-Tank`` as ``storage tank``."""
    return re.sub(r"[\s_-]+", " ", name).strip().lower()


def check_templates(templates: Sequence[str]) -> tuple[str, ...]:
    """Templates as they are; raises ValueError for none, or one without ``{category}``."""
    if not templates:
        raise ValueError("templates are empty: give at least one text with {category} in it")
    for template in templates:
        if "{category}" not in template:
            raise ValueError(f"the template {template!r} has no {{category}} in it")
    return tuple(templates)


def category_prompts(category: str, templates: Sequence[str]) -> tuple[str, ...]:
    """The templates with a category put in."""
    return tuple(template.replace("{category}", category) for template in templates)
