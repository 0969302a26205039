"""What is known of Potsdam, Vaihingen, LoveDA and iSAID as their authors publish them.

File names, class colours, the usual division into training and validation, and how many tiles the
usual cutting gives. Labels are stored as mmsegmentation's datasets expect them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Colour = tuple[int, int, int]
Labels = Literal["eroded", "full"]
_Found = tuple[str, str, str, Path]  # "image" or "mask", split, name


@dataclass(frozen=True)
class Pair:
    """A published image and its mask (None where none is published).

    Attributes:
        split: ``train``, ``val`` or ``test``; name: name of the image, unique in its split.
    """

    split: str
    name: str
    image: Path
    mask: Path | None


@dataclass(frozen=True)
class RawData:
    """A dataset as published.

    Attributes:
        labels: names of the labels that masks hold after the preparation.
        ignored: label of pixels that take no part.
        colours: labels by colour of published masks; None where they hold labels.
        size, stride: usual tile side and distance in pixels; None where images stay as they are.
        tile: format of a tile's name, with ``name``, ``x0``, ``y0``, ``x1`` and ``y1``.
        mask_ending: what mask names have behind that.
        tiles: how many there are after the usual cutting.
    """

    labels: Mapping[int, str]
    ignored: int
    colours: Mapping[Colour, int] | None
    size: int | None
    stride: int | None
    tile: str
    mask_ending: str
    tiles: Mapping[str, int]


_ISPRS_LABELS = (
    *("ignored", "impervious_surface", "building", "low_vegetation"),
    *("tree", "car", "clutter"),
)
_ISPRS_COLOURS = {
    (0, 0, 0): 0,  # the boundary of eroded masks
    (255, 255, 255): 1,
    (0, 0, 255): 2,
    (0, 255, 255): 3,
    (0, 255, 0): 4,
    (255, 255, 0): 5,
    (255, 0, 0): 6,
}
_LOVEDA_LABELS = (
    *("ignored", "background", "building", "road"),
    *("water", "barren", "forest", "agricultural"),
)
_ISAID_LABELS = (
    *("background", "ship", "store_tank", "baseball_diamond", "tennis_court", "basketball_court"),
    *("Ground_Track_Field", "Bridge", "Large_Vehicle", "Small_Vehicle", "Helicopter"),
    *("Swimming_pool", "Roundabout", "Soccer_ball_field", "plane", "Harbor"),
)
_ISAID_COLOURS = (
    *((0, 0, 0), (0, 0, 63), (0, 63, 63), (0, 63, 0), (0, 63, 127), (0, 63, 191), (0, 63, 255)),
    *((0, 127, 63), (0, 127, 127), (0, 0, 127), (0, 0, 191), (0, 0, 255), (0, 191, 127)),
    *((0, 127, 191), (0, 127, 255), (0, 100, 155)),
)
# Images of each split, by number.
_AREAS = {
    "potsdam": {
        "train": "2_10 2_11 2_12 3_10 3_11 3_12 4_10 4_11 4_12 5_10 5_11 5_12"
        " 6_7 6_8 6_9 6_10 6_11 6_12 7_7 7_8 7_9 7_10 7_11 7_12",
        "val": "2_13 2_14 3_13 3_14 4_13 4_14 4_15 5_13 5_14 5_15 6_13 6_14 6_15 7_13",
    },
    "vaihingen": {
        "train": "1 3 5 7 11 13 15 17 21 23 26 28 30 32 34 37",
        "val": "2 4 6 8 10 12 14 16 20 22 24 27 29 31 33 35 38",
    },
}


def _isprs(tile: str, tiles: Mapping[str, int]) -> RawData:
    return RawData(
        labels=dict(enumerate(_ISPRS_LABELS)),
        ignored=0,
        colours=_ISPRS_COLOURS,
        size=512,
        stride=512,
        tile=tile,
        mask_ending="",
        tiles=tiles,
    )


RAW_DATA = {
    "potsdam": _isprs("{name}_{x0}_{y0}_{x1}_{y1}", {"train": 3456, "val": 2016}),
    "vaihingen": _isprs("area{name}_{x0}_{y0}_{x1}_{y1}", {"train": 344, "val": 398}),
    "loveda": RawData(
        labels=dict(enumerate(_LOVEDA_LABELS)),
        ignored=0,
        colours=None,
        size=None,
        stride=None,
        tile="{name}",
        mask_ending="",
        tiles={"train": 2522, "val": 1669, "test": 1796},
    ),
    "isaid": RawData(
        labels={**dict(enumerate(_ISAID_LABELS)), 255: "ignored"},
        ignored=255,
        colours={colour: label for label, colour in enumerate(_ISAID_COLOURS)},
        size=896,
        stride=512,
        tile="{name}_{y0}_{y1}_{x0}_{x1}",
        mask_ending="_instance_color_RGB",
        tiles={"train": 33978, "val": 11644},
    ),
}


def usual_division(dataset: str) -> dict[str, str]:
    """Split of each image, where images are divided by number (ISPRS); else nothing."""
    splits = _AREAS.get(dataset, {})
    return {area: split for split, areas in splits.items() for area in areas.split()}


def find_pairs(
    dataset: str,
    root: Path,
    *,
    labels: Labels = "eroded",
    composite: str = "RGB",
    without: Collection[str] = (),
) -> list[Pair]:
    """Find the published files of a dataset, unpacked below a folder.

    Args:
        dataset: a key of `RAW_DATA`.
        labels: ISPRS masks; ``eroded`` ones leave out (black) what is next to a boundary.
        composite: Potsdam bands: ``RGB``, ``IRRG`` or ``RGBIR``.
        without: names of images to leave out.

    Raises:
        FileNotFoundError: images of the usual division, or masks of images, are missing.
        ValueError: two files for one image.
    """
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    if not paths:
        raise FileNotFoundError(f"{root} holds no files: unpack the published archives there")
    if dataset in _AREAS:
        found = _find_isprs(dataset, paths, labels=labels, composite=composite)
    else:
        found = _find_loveda(paths) if dataset == "loveda" else _find_isaid(paths, root)
    pairs = [pair for pair in _paired(found) if pair.name not in without]
    if not pairs:
        packed = sum(path.suffix == ".zip" for path in paths)
        raise FileNotFoundError(
            f"{root} holds no image of {dataset} among {len(paths)} files ({packed} archives:"
            " unpack them)"
        )
    expected = {*usual_division(dataset)}
    lacking = sorted(expected - {*without} - {pair.name for pair in pairs})
    if lacking:
        raise FileNotFoundError(
            f"{len(lacking)} of {len(expected)} images of {dataset} are missing:"
            f" {' '.join(lacking)}; add them, or leave them out by --without"
        )
    unmasked = [pair for pair in pairs if pair.mask is None and pair.split != "test"]
    if unmasked:
        kind = f" ({labels} ones)" if dataset in _AREAS else ""
        raise FileNotFoundError(
            f"{len(unmasked)} of {len(pairs)} images have no mask{kind}, first {unmasked[0].image}"
        )
    return pairs


def _find_isprs(
    dataset: str, paths: Iterable[Path], *, labels: Labels, composite: str
) -> Iterator[_Found]:
    eroded = labels == "eroded"
    if dataset == "potsdam":
        image = re.compile(rf"top_potsdam_(\d+_\d+)_{composite}\.tif")
        mask = re.compile(rf"top_potsdam_(\d+_\d+)_label{'_noBoundary' if eroded else ''}\.tif")
    else:
        image = re.compile(r"top_mosaic_09cm_area(\d+)\.tif")
        mask = re.compile(rf"top_mosaic_09cm_area(\d+){'_noBoundary' if eroded else ''}\.tif")
    split_of = usual_division(dataset)

    for path in paths:
        # Images and full masks of Vaihingen have the same names; only the folders differ.
        places = {"image", "mask"}
        if dataset == "vaihingen":
            places = {"image"} if path.parent.name == "top" else {"mask"}
        for kind, pattern in (("image", image), ("mask", mask)):
            match = pattern.fullmatch(path.name)
            if match and kind in places and match[1] in split_of:
                yield kind, split_of[match[1]], match[1], path


def _find_loveda(paths: Iterable[Path]) -> Iterator[_Found]:
    kinds = {"images_png": "image", "masks_png": "mask"}
    for path in paths:
        if path.suffix == ".png" and len(path.parts) > 3 and path.parent.name in kinds:
            split = path.parts[-4].lower()
            if split in ("train", "val", "test"):
                yield kinds[path.parent.name], split, path.stem, path


def _find_isaid(paths: Iterable[Path], root: Path) -> Iterator[_Found]:
    pattern = re.compile(r"(P\d+)(_instance_color_RGB)?\.png")
    for path in paths:
        match = pattern.fullmatch(path.name)
        split = path.relative_to(root).parts[0]
        if match and split in ("train", "val"):
            yield "mask" if match[2] else "image", split, match[1], path


def _paired(found: Iterable[_Found]) -> list[Pair]:
    """Sorted pairs of what was found."""
    files: dict[str, dict[tuple[str, str], Path]] = {"image": {}, "mask": {}}
    for kind, split, name, path in found:
        other = files[kind].setdefault((split, name), path)
        if other is not path:
            raise ValueError(f"{other} and {path} are the same {kind}: take one away")
    masks = files["mask"]
    return [Pair(*key, path, masks.get(key)) for key, path in sorted(files["image"].items())]
