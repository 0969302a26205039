"""Masks of colours turned into masks of labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Unknown = Literal["error", "ignore", "nearest"]
_UNKNOWN = -1
_BLOCK = 2**22  # pixels


def labels_of_colours(
    mask: NDArray[np.uint8],
    colours: Mapping[tuple[int, int, int], int],
    *,
    name: str,
    unknown: Unknown = "error",
    ignored: int = 255,
) -> tuple[NDArray[np.uint8], int]:
    """Turn a mask of colours into one of labels.

    Args:
        mask: ``(H, W, 3)`` uint8.
        colours: their labels.
        name: name of the file, for messages.
        unknown: what becomes of other colours: an error, ``ignored``, or the label of the nearest
            colour.

    Returns:
        ``(H, W)`` uint8 labels, and how many pixels had an unknown colour.

    Raises:
        ValueError: an unknown colour; names the file, the most frequent one and their numbers.
    """
    table = np.full(2**24, _UNKNOWN, dtype=np.int16)
    for colour, label in colours.items():
        table[_code(np.array(colour))] = label
    odd = Counter[int]()
    for rows in _blocks(mask):
        codes = _code(rows)
        found, counts = np.unique(codes[table[codes] == _UNKNOWN], return_counts=True)
        odd.update(dict(zip(found.tolist(), counts.tolist(), strict=True)))
    if odd:
        if unknown == "error":
            common, count = odd.most_common(1)[0]
            raise ValueError(
                f"{name}: {odd.total()} pixels of {len(odd)} colours that no class has, most often"
                f" {(common >> 16, common >> 8 & 255, common & 255)} ({count} pixels): --unknown"
                " nearest gives them the nearest colour's class, --unknown ignore none"
            )
        found = np.array([*odd])
        table[found] = ignored if unknown == "ignore" else _nearest(found, colours)
    labels = np.empty(mask.shape[:2], dtype=np.uint8)
    for rows, part in zip(_blocks(mask), _blocks(labels), strict=True):
        part[:] = table[_code(rows)]
    return labels, odd.total()


def _blocks(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Views of some rows each: what is computed of a whole scene takes many times its memory."""
    step = max(1, _BLOCK // max(1, array.shape[1]))
    for start in range(0, len(array), step):
        yield array[start : start + step]


def _code(colours: NDArray[Any]) -> NDArray[np.int32]:
    """``(..., 3)`` colours as one number each."""
    red, green, blue = np.moveaxis(colours.astype(np.int32), -1, 0)
    return red << 16 | green << 8 | blue


def _nearest(codes: NDArray[Any], colours: Mapping[tuple[int, int, int], int]) -> NDArray[Any]:
    """Labels of the colours at the smallest Euclidean distance."""
    points = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=-1)
    known = np.array(list(colours))
    distances = ((points[:, None] - known) ** 2).sum(-1)
    return np.array(list(colours.values()))[distances.argmin(1)]
