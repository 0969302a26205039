"""Class lists of segmentation sets: a line a class, synonyms with commas, in the masks' order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import ImageColor

from cmid.data.scenes import INSTANCE_CATEGORIES, SEMANTIC_CLASSES
from cmid.data.text_files import stripped_lines
from cmid.evaluation.open_vocabulary import Vocabulary


@dataclass(frozen=True)
class ClassList:
    """Names of a set's classes.

    Attributes:
        lines: lines for `Vocabulary.parse`, in the order of the masks' labels.
        background: name of the class that unsure pixels get, or None.
        zero_ignored: masks hold 1 to K, and 0 for pixels to ignore (mmsegmentation's
            ``reduce_zero_label``).
    """

    lines: tuple[str, ...]
    background: str | None = None
    zero_ignored: bool = False

    @property
    def vocabulary(self) -> Vocabulary:
        """The parsed lines."""
        return Vocabulary.parse(self.lines, background=self.background)


def _list(text: str, background: str | None = None, *, zero_ignored: bool = False) -> ClassList:
    lines = tuple(" ".join(line.split()) for line in text.split("|"))
    return ClassList(lines, background, zero_ignored)


CLASS_LISTS: dict[str, ClassList] = {
    "open_earth_map": _list(
        """background | bareland, barren | grass | pavement | road | tree, forest | water, river
        | cropland | building, roof, house""",
        "background",
    ),
    "loveda": _list(
        "background | building, roof, house | road | water | barren | forest | agricultural",
        "background",
        zero_ignored=True,
    ),
    "potsdam": _list(
        "road, parking lot | building | low vegetation | tree | car | clutter, background",
        "clutter",
        zero_ignored=True,
    ),
    "vaihingen": _list(
        "impervious surface | building | low vegetation | tree | car | clutter",
        "clutter",
        zero_ignored=True,
    ),
    "isaid": _list(
        """background | ship | store tank | baseball diamond | tennis court | basketball court
        | ground track field | bridge | large vehicle | small vehicle | helicopter | swimming pool
        | roundabout | soccer ball field | plane | harbor""",
        "background",
    ),
    "udd5": _list("vegetation | building | road | vehicle | background", "background"),
    "vdd": _list("background | facade | road | vegetation | vehicle | roof | water", "background"),
    "uavid": _list("background | building | road | car | tree | vegetation | human", "background"),
    "roads": _list("background | road", "background"),
    # Captions of scenes speak of several objects.
    "scenes": ClassList(
        tuple(f"{c}, {c}s" if c in INSTANCE_CATEGORIES else c for c in SEMANTIC_CLASSES)
    ),
}

_COLOURS = {
    name: colour
    for colour, names in {
        "#202020": ("background", "clutter"),
        "#2f6fd6": ("water",),
        "#b8b8b8": ("road", "impervious surface"),
        "#8d8d8d": ("pavement",),
        "#d1432f": ("building", "roof"),
        "#8e2f5f": ("facade",),
        "#1f6b2c": ("tree", "trees", "forest"),
        "#6abf4b": ("vegetation",),
        "#8fd16a": ("low vegetation", "grass"),
        "#e0b84c": ("cropland", "agricultural"),
        "#a9794a": ("barren", "bareland", "bare ground"),
        "#f5e342": ("car", "vehicle"),
        "#f26fc0": ("human",),
        "#e8f4ff": ("ship",),
        "#b06cff": ("plane",),
        "#ff8c1a": ("storage tank",),
    }.items()
    for name in names
}


def read_vocabulary(
    name: str, *, background: str | None = None, zero_ignored: bool = False
) -> ClassList:
    """A class list by name.

    Args:
        name: a key of `CLASS_LISTS`, or a text file with a line a class.
        background: replaces the list's own; a name in it.
        zero_ignored: masks are as `ClassList.zero_ignored` says; lists that say so keep it.

    Raises:
        FileNotFoundError: neither of them.
        ValueError: as `Vocabulary.parse`.
    """
    if name in CLASS_LISTS:
        known = CLASS_LISTS[name]
    elif Path(name).is_file():
        known = ClassList(tuple(stripped_lines(name)))
    else:
        raise FileNotFoundError(f"{name} is neither a list ({', '.join(CLASS_LISTS)}) nor a file")
    chosen = ClassList(
        known.lines, background or known.background, known.zero_ignored or zero_ignored
    )
    try:
        _ = chosen.vocabulary  # errors belong here, where the name is known
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    return chosen


def palette(classes: Sequence[str]) -> list[tuple[int, int, int]]:
    """A colour a class: the usual one of its name, else a hue of its own."""
    others = [name for name in classes if name not in _COLOURS]
    hues = {name: number / max(1, len(others)) for number, name in enumerate(others)}
    texts = (_COLOURS.get(name) or f"hsv({360 * hues[name]:.6f}, 70%, 95%)" for name in classes)
    return [ImageColor.getrgb(text)[:3] for text in texts]
