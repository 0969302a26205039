"""Texts that a flip or a turn of their image would make untrue."""

from __future__ import annotations

import re

# "From above" says how an image was taken, not where something lies.
_DIRECTION = re.compile(
    r"""\b(?:
        (?: left | right | upper | lower | top | bottom | (?:north|south)?[ -]?(?:east|west)
          | north | south )
        (?: most | ern(?:most)? | wards? | side | hand )?
      | (?<!from[ ]) above | below | up | down | (?:up|down)wards?
      | horizontal(?:ly)? | vertical(?:ly)? | (?:anti-?|counter-?)?clockwise
    )\b""",
    re.IGNORECASE | re.VERBOSE,
)


def names_direction(text: str) -> bool:
    """Whether a text speaks of a direction in the image, or on the map.

    Rather once too often: the price is an image that is not flipped.

    Example:
        >>> names_direction("two ships in the upper left"), names_direction("seen from above")
        (True, False)
    """
    return _DIRECTION.search(text) is not None
