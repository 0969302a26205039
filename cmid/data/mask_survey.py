"""Do the masks of a set hold its classes? Looked up before anything is trained or scored on them.

Label 255 means pixels to ignore. Masks of 0 and 255 - black and white, as many tools write roads or
buildings - would leave one class and nothing to learn, without a word.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cmid.data.masks import IGNORED, allowed_labels, read_mask

_ENOUGH = 1000  # masks; a class that occurs in none of so many is rare, and worth a line
_GOLDEN = 0.6180339887


def survey_masks(
    paths: Sequence[str | os.PathLike[str]],
    table: NDArray[np.int16],
    *,
    folder: str | os.PathLike[str],
    names: Mapping[int, str],
    foreground: str,
    from_one: str,
) -> str | None:
    """Look at masks, spread over the set, until every class was seen.

    Masks that cannot be read are passed over: reading them for use says what is wrong.

    Args:
        paths: mask files.
        table: lookup table made by `cmid.data.masks.label_table`.
        folder: folder of the masks, for messages.
        names: class names by number.
        foreground: option that makes 255 a class, for messages.
        from_one: option that says that labels are stored from 1, for messages.

    Returns:
        One line about classes that occur in no mask, or None.

    Raises:
        ValueError: pixels are ignored, and all the others in all masks are of one class (or there
            are none), where the set has several.
    """
    classes = [label for label in allowed_labels(table) if table[label] in names]
    ignored = {IGNORED} - {*classes} | {label for label in (0,) if table[label] == IGNORED}
    found: set[int] = set()
    looked = 0
    for number in sorted(range(len(paths)), key=lambda place: place * _GOLDEN % 1):
        try:
            stored = read_mask(paths[number])
        except (OSError, ValueError):
            continue
        looked += 1
        found |= {*np.unique(stored).astype(int).tolist()}
        seen = [label for label in classes if label in found]
        if len(seen) == len(classes):
            return None
        if looked >= _ENOUGH and (len(seen) > 1 or not found & ignored):
            break
    missing = [names[int(table[label])] for label in classes if label not in found]
    if not looked or not missing:
        return None
    values = ", ".join(map(str, sorted(found)[:8]))
    # A label that is not allowed is told where it is read; masks of nothing but 0 are just empty.
    odd = found - {*allowed_labels(table)} or found == {0}
    if len(classes) > 1 and len(classes) - len(missing) < 2 and found & ignored and not odd:
        raise ValueError(
            f"{os.fspath(folder)}: {looked} masks hold {values} only, and"
            f" {' and '.join(map(str, sorted(found & ignored)))} means pixels to ignore, so that"
            f" no pixel is {_listed(missing)}: for masks of 0 and 255 set {foreground};"
            f" {_counting(table, from_one)} (check_labels=False takes them as they are)"
        )
    return (
        f"{os.fspath(folder)}: {looked} of {len(paths)} masks were looked at, and none has a pixel"
        f" of {_listed(missing)}; they hold {values} ({_counting(table, from_one)})"
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more classes" if len(names) > 5 else ""
    return f"{', '.join(names[:5])}{more}"


def _counting(table: NDArray[np.int16], from_one: str) -> str:
    """What to do where labels are counted otherwise than the table says."""
    if table[0] == IGNORED:
        return f"where labels count from 0, leave out {from_one}"
    return f"where labels count from 1, set {from_one}"
