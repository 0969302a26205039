"""Checks of annotations in COCO's form, which mmdetection reads without any."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
        objects: that are used.
        other_categories: objects of categories that are not asked for.
        too_small: boxes with a side below one pixel, or beside the image.
    """

    images: int
    empty_images: int
    objects: int
    other_categories: int
    too_small: int

    def __str__(self) -> str:
        return (
            f"{self.images} images ({self.empty_images} without objects), {self.objects} objects;"
            f" left out: {self.other_categories} of other categories, {self.too_small} below one"
            " pixel or outside of the image"
        )


def check_coco(
    path: Path, images: Path, *, classes: Sequence[str], polygons: bool = False
) -> CocoCounts:
    """Check annotations against themselves, their images and the classes of a configuration.

    Args:
        path: JSON file.
        images: folder that ``file_name`` is relative to.
        classes: names, in the order of the file's categories (mmdetection numbers by the file).
        polygons: whether every object needs a polygon.

    Raises:
        FileNotFoundError: no such file; or an image of it is missing.
        ValueError: anything that is not COCO's form, an unknown image or category, a degenerate
            box; names the file and the entry.
    """
    content = _load(path)
    categories = {entry["id"]: entry["name"] for entry in content["categories"]}
    _check_classes(path, list(categories.values()), classes)
    sizes = _check_images(path, images, content["images"])
    used: set[Any] = set()
    seen: set[Any] = set()
    objects = other = too_small = 0
    for entry in content["annotations"]:
        name = f"{path}: annotation {entry['id']}"
        if entry["id"] in seen:
            raise ValueError(f"{name} occurs twice: ids have to be unique")
        seen.add(entry["id"])
        if entry["image_id"] not in sizes:
            raise ValueError(f"{name} is of image {entry['image_id']}, which is not in the file")
        if entry["category_id"] not in categories:
            raise ValueError(
                f"{name} has category_id {entry['category_id']}; categories are"
                f" {', '.join(map(str, categories))}"
            )
        _check_box(name, entry["bbox"])
        if categories[entry["category_id"]] not in classes:
            other += 1
            continue
        if _is_too_small(entry, sizes[entry["image_id"]]):
            too_small += 1
            continue
        if polygons:
            _check_polygons(name, entry.get("segmentation"))
        used.add(entry["image_id"])
        objects += 1
    return CocoCounts(len(sizes), len(sizes) - len(used), objects, other, too_small)


def _load(path: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        content = read_json(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"no annotations {path}") from None
    for key, fields in _FIELDS.items():
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise ValueError(f"{path} is not of COCO's form: it has no list {key}")
        for number, entry in enumerate(content[key]):
            missing = [field for field in fields if field not in entry]
            if missing:
                raise ValueError(f"{path}: {key}[{number}] has no {missing[0]}")
    return content


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
            f"{path} has its categories in another order: metainfo.classes={(*ordered,)}"
        )


def _check_images(
    path: Path, folder: Path, entries: Sequence[Mapping[str, Any]]
) -> dict[Any, tuple[float, float]]:
    sizes: dict[Any, tuple[float, float]] = {}
    for entry in entries:
        if entry["id"] in sizes:
            raise ValueError(f"{path}: image {entry['id']} occurs twice: ids have to be unique")
        if not (folder / entry["file_name"]).is_file():
            raise FileNotFoundError(
                f"{path}: image {entry['id']} is missing: {folder / entry['file_name']}"
            )
        sizes[entry["id"]] = entry["width"], entry["height"]
    if not sizes:
        raise ValueError(f"{path} lists no images")
    return sizes


def _check_box(name: str, box: Any) -> None:
    if not isinstance(box, list) or len(box) != 4:
        raise ValueError(f"{name} has the box {box}; needed are x, y, width, height")
    if not all(isinstance(v, int | float) and math.isfinite(v) for v in box):
        raise ValueError(f"{name} has the box {box}; needed are four finite numbers")
    if box[2] <= 0 or box[3] <= 0:
        raise ValueError(f"{name} has an empty box {box}: correct or delete it")


def _is_too_small(entry: Mapping[str, Any], size: tuple[float, float]) -> bool:
    x, y, width, height = entry["bbox"]
    beside = x >= size[0] or y >= size[1] or x + width <= 0 or y + height <= 0
    return beside or min(width, height) < SMALLEST_SIDE or entry["area"] <= 0


def _check_polygons(name: str, polygons: Any) -> None:
    if not isinstance(polygons, list) or not polygons:
        raise ValueError(f"{name} has no polygon in segmentation: its oriented box is unknown")
    for polygon in polygons:
        if len(polygon) < 6 or len(polygon) % 2:
            raise ValueError(f"{name} has a polygon of {len(polygon)} numbers, not of 6, 8, ...")
        if not all(isinstance(v, int | float) and math.isfinite(v) for v in polygon):
            raise ValueError(f"{name} has a polygon with a value that is not a finite number")
