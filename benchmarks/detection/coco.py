"""Checks of annotations in COCO's form, which mmdetection reads without any."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmid.data.image_size import stored_size
from cmid.data.text_files import read_json

SMALLEST_SIDE = 1.0  # pixels; mmdetection leaves out smaller boxes
_FIELDS = {
    "images": ("id", "file_name", "width", "height"),
    "annotations": ("id", "image_id", "category_id", "bbox", "area"),
    "categories": ("id", "name"),
}


@dataclass(frozen=True)
class CocoCounts:
    """What a file holds, and what of it mmdetection leaves out.

    Attributes:
        images, empty_images: all, and those without an object that is used.
        objects: number of objects that are used.
        other_categories: objects of categories that are not asked for.
        too_small: boxes with a side below one pixel, or beside the image.
        overhanging: used boxes that reach over the border by more than one pixel.
        crowds: objects marked ``iscrowd``, which training passes over.
    """

    images: int
    empty_images: int
    objects: int
    other_categories: int
    too_small: int
    overhanging: int = 0
    crowds: int = 0

    def __str__(self) -> str:
        return (
            f"{self.images} images ({self.empty_images} without objects), {self.objects} objects;"
            f" left out: {self.other_categories} of other categories, {self.too_small} below one"
            " pixel or outside of the image"
            + (f", {self.crowds} crowds" if self.crowds else "")
            + (f"; {self.overhanging} reach over the border" if self.overhanging else "")
        )


def check_coco(
    path: Path,
    images: Path,
    *,
    classes: Sequence[str],
    polygons: bool = False,
    evaluated: bool = False,
) -> CocoCounts:
    """Check annotations against themselves, their images and the classes of a configuration.

    Args:
        path: JSON file.
        images: folder that ``file_name`` is relative to.
        classes: names, in the order of the file's categories (mmdetection numbers by the file).
        polygons: whether every object needs a polygon.
        evaluated: whether COCO's own evaluation reads the file, which needs ``iscrowd``.

    Raises:
        FileNotFoundError: no such file; or an image of it is missing.
        UnreadableImageError: an image of it is none.
        ValueError: anything that is not COCO's form, an image of another size than the file says,
            an unknown image or category, a degenerate box, an outline beside its image; names the
            file and the entry.
    """
    content = _load(path)
    categories = _unique(path, "category", content["categories"], "name")
    _check_classes(path, list(categories.values()), classes)
    sizes = _check_images(path, images, content["images"])
    used: list[tuple[Any, Any]] = []  # image, box
    seen: set[Any] = set()
    other = too_small = crowds = 0
    for entry in content["annotations"]:
        name = f"{path}: annotation {entry['id']}"
        if entry["id"] in seen:
            raise ValueError(f"{name} occurs twice: ids have to be unique")
        seen.add(entry["id"])
        _check_object(name, entry, categories, sizes, evaluated=evaluated)
        size = sizes[entry["image_id"]]
        if categories[entry["category_id"]] not in classes:
            other += 1
            continue
        if _is_too_small(entry, size):
            too_small += 1
            continue
        if polygons:
            _check_polygons(name, entry.get("segmentation"), size)
        if entry.get("iscrowd"):
            crowds += 1
            continue
        used.append((entry["image_id"], entry["bbox"]))
    boxes = [(box, sizes[image]) for image, box in used]
    overhanging = sum(_reaches_over(box, size) for box, size in boxes)
    if overhanging and all(_are_corners(box, size) for box, size in boxes):
        raise ValueError(
            f"{path}: {overhanging} of {len(boxes)} boxes reach over the border, and all of them"
            " fit as x1, y1, x2, y2; needed are x, y, width, height"
        )
    empty = len(sizes) - len({image for image, _ in used})
    return CocoCounts(len(sizes), empty, len(used), other, too_small, overhanging, crowds)


def check_size(name: str, image: Path, annotated: Sequence[int]) -> None:
    """Compare height and width that annotations are for with those of the image file.

    Raises:
        FileNotFoundError: no such image.
        UnreadableImageError: it is none.
        ValueError: they differ; names the annotations, the image and both sizes.
    """
    stored = stored_size(image)
    if (*annotated,) == stored:
        return
    turned = ": its EXIF tag turns it" if (*annotated,) == stored[::-1] else ""
    raise ValueError(
        f"{name}: {image} has width {stored[1]} and height {stored[0]}{turned}, its annotations are"
        f" for {annotated[1]} and {annotated[0]}: correct them, or take the annotated image"
    )


def _load(path: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        content = read_json(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"no annotations {path}") from None
    for key, fields in _FIELDS.items():
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise ValueError(f"{path} is not of COCO's form: it has no list {key}")
        for number, entry in enumerate(content[key]):
            if not isinstance(entry, dict):
                raise ValueError(f"{path}: {key}[{number}] is {str(entry)[:40]}, no object")
            missing = [field for field in fields if field not in entry]
            if missing:
                raise ValueError(f"{path}: {key}[{number}] has no {missing[0]}")
            for field in fields:
                if field.endswith("id") and not isinstance(entry[field], int | str):
                    raise ValueError(f"{path}: {key}[{number}] has the {field} {entry[field]!r}")
    return content


def _unique(
    path: Path, what: str, entries: Sequence[Mapping[str, Any]], value: str
) -> dict[Any, Any]:
    """Values by the ids of their entries, neither of which may occur twice."""
    found: dict[Any, Any] = {}
    for entry in entries:
        if entry["id"] in found:
            raise ValueError(f"{path}: {what} {entry['id']} occurs twice: ids have to be unique")
        if entry[value] in found.values():
            raise ValueError(f"{path} has two categories {entry[value]!r}: join them")
        found[entry["id"]] = entry[value]
    return found


def _check_classes(path: Path, names: Sequence[str], classes: Sequence[str]) -> None:
    if not classes:
        raise ValueError(f"{path}: metainfo.classes names none of its categories {(*names,)}")
    missing = [name for name in classes if name not in names]
    if missing:
        raise ValueError(
            f"{path} has no category {missing[0]!r}; set metainfo.classes to some of {(*names,)}"
        )
    ordered = [name for name in names if name in classes]
    if ordered != list(classes):
        raise ValueError(
            f"{path} has its categories in another order: metainfo.classes={(*ordered,)}; where"
            " another file of the training has the other order, sort the categories of one"
        )


def _check_images(
    path: Path, folder: Path, entries: Sequence[Mapping[str, Any]]
) -> dict[Any, tuple[float, float]]:
    sizes: dict[Any, tuple[float, float]] = {}
    for entry in entries:
        name, number = f"{path}: image {entry['id']}", entry["id"]
        if number in sizes:
            raise ValueError(f"{name} occurs twice: ids have to be unique")
        if not isinstance(entry["file_name"], str):
            raise ValueError(f"{name} has the file_name {entry['file_name']!r}, no text")
        sides = entry["width"], entry["height"]
        if not all(_is_number(side) and side > 0 and side == int(side) for side in sides):
            raise ValueError(f"{name} has width {sides[0]!r} and height {sides[1]!r}, not pixels")
        image = folder / entry["file_name"]
        if not image.is_file():
            raise FileNotFoundError(f"{name} is missing: {image}")
        check_size(name, image, (int(sides[1]), int(sides[0])))
        sizes[number] = sides
    if not sizes:
        raise ValueError(f"{path} lists no images")
    return sizes


def _check_object(
    name: str,
    entry: Mapping[str, Any],
    categories: Mapping[Any, str],
    sizes: Mapping[Any, tuple[float, float]],
    *,
    evaluated: bool,
) -> None:
    if entry["image_id"] not in sizes:
        raise ValueError(f"{name} is of image {entry['image_id']}, which is not in the file")
    if entry["category_id"] not in categories:
        raise ValueError(
            f"{name} has category_id {entry['category_id']}; categories are"
            f" {', '.join(map(str, categories))}"
        )
    _check_box(name, entry["bbox"])
    _check_area(name, entry["area"])
    if evaluated and entry.get("iscrowd") not in (0, 1):
        raise ValueError(
            f"{name} has no iscrowd of 0 or 1, which the evaluation needs: add 0 to each object"
        )
    _check_outline(name, entry.get("segmentation"), sizes[entry["image_id"]])


def _check_box(name: str, box: Any) -> None:
    if not isinstance(box, list) or len(box) != 4:
        raise ValueError(f"{name} has the box {box}; needed are x, y, width, height")
    if not all(map(_is_number, box)):
        raise ValueError(f"{name} has the box {box}; needed are four finite numbers")
    if box[2] <= 0 or box[3] <= 0:
        raise ValueError(f"{name} has an empty box {box}: correct or delete it")


def _check_area(name: str, area: Any) -> None:
    if not _is_number(area):
        raise ValueError(f"{name} has the area {area!r}: needed is a finite number")


def _check_outline(name: str, outline: Any, size: tuple[float, float]) -> None:
    """A run-length code is for an image of its own size, which has to be the image's."""
    if not isinstance(outline, dict) or "size" not in outline:
        return
    if [*outline["size"]] != [size[1], size[0]]:
        raise ValueError(
            f"{name} has a run-length code for height and width {outline['size']}, its image has"
            f" {[size[1], size[0]]}: correct it, or the image"
        )


def _reaches_over(box: Sequence[float], size: tuple[float, float]) -> bool:
    x, y, width, height = box
    return min(x, y) < -1 or x + width > size[0] + 1 or y + height > size[1] + 1


def _are_corners(box: Sequence[float], size: tuple[float, float]) -> bool:
    """Whether a box could be two corners within its image."""
    return 0 <= box[0] < box[2] <= size[0] + 1 and 0 <= box[1] < box[3] <= size[1] + 1


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_too_small(entry: Mapping[str, Any], size: tuple[float, float]) -> bool:
    x, y, width, height = entry["bbox"]
    beside = x >= size[0] or y >= size[1] or x + width <= 0 or y + height <= 0
    return beside or min(width, height) < SMALLEST_SIDE or entry["area"] <= 0


def _check_polygons(name: str, polygons: Any, size: tuple[float, float]) -> None:
    if not isinstance(polygons, list) or not polygons:
        code = " but a run-length code" if isinstance(polygons, dict) and polygons else ""
        raise ValueError(
            f"{name} has no polygon in segmentation{code}: its oriented box is unknown"
        )
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            count = len(polygon) if isinstance(polygon, list) else 0
            raise ValueError(f"{name} has a polygon of {count} numbers, not of 6, 8, ...")
        if not all(map(_is_number, polygon)):
            raise ValueError(f"{name} has a polygon with a value that is not a finite number")
        x, y = polygon[::2], polygon[1::2]
        if min(x) >= size[0] or min(y) >= size[1] or max(x) <= 0 or max(y) <= 0:
            raise ValueError(
                f"{name} has a polygon beside its image of width {size[0]} and height {size[1]}:"
                " correct it, or the image"
            )
