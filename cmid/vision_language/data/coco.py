"""Detection data in COCO's form as images with captions and described boxes."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cmid.boxes import Box
from cmid.vision_language.data.boxes import BoxLimitConfig, check_box, check_size
from cmid.vision_language.data.files import AnnotatedFiles, FileEntry, RegionEntry
from cmid.vision_language.data.objects import ImageObjects, describe_image, describe_objects
from cmid.vision_language.data.problems import (
    AnnotationError,
    Problems,
    field,
    load_json,
    text_field,
)
from cmid.vision_language.prompts.class_names import category_text
from cmid.vision_language.prompts.templates import CATEGORY_TEMPLATES


class CocoRegions(AnnotatedFiles):
    """Boxes with their category as text, and captions that tell counts and places of objects.

    Args:
        path: JSON file in COCO's form.
        phrases: objects also get a caption of their own where one is true ("the largest ship").
        templates: prompts of a category, with ``{}`` in them.
        limits: areas of boxes that are used as regions; others are counted and reported. Captions
            count all objects.
        seed: random seed of the wording.
        **file: of `AnnotatedFiles`.

    Raises:
        FileNotFoundError: the file or its first image does not exist.
        ValueError: it has not COCO's form, or an entry is faulty; names the file and the entry.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        phrases: bool = True,
        templates: Sequence[str] = CATEGORY_TEMPLATES,
        limits: BoxLimitConfig = BoxLimitConfig(),
        seed: int = 0,
        **file: Any,
    ) -> None:
        self.phrases = phrases
        self.templates = templates
        self.limits = limits
        self.seed = seed
        super().__init__(path, **file)

    def entries(self, path: Path, problems: Problems) -> Iterator[FileEntry]:
        for objects in read_coco(path, problems):
            captions = describe_image(objects, seed=self.seed)
            if not captions:
                problems.left_out["images without objects"] += 1
                continue
            own = describe_objects(objects, seed=self.seed)
            regions = []
            for category, box, phrase in zip(objects.categories, objects.boxes, own, strict=True):
                if self.limits.admit(box):
                    said = (phrase,) if self.phrases and phrase else ()
                    regions.append(RegionEntry(box, category, said))
                else:
                    problems.left_out["boxes beyond the limits of area"] += 1
            yield FileEntry(objects.path, captions, tuple(regions), objects.size)


def read_coco(path: Path, problems: Problems) -> Iterator[ImageObjects]:
    """Images with their objects, in the order of the file.

    Boxes are cut off at the border; those beside the image are faulty. Objects marked as a crowd
    are left out and counted: their box holds several.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it has not COCO's form, or (as ``problems`` says) an entry is faulty.
    """
    content = load_json(path)
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise ValueError(f"{path} is not of COCO's form: it has no list {key}")
    names: dict[Any, str] = {}
    for number, entry in enumerate(content["categories"]):
        with problems.at(f"categories[{number}]"):
            if field(entry, "id") in names:
                raise AnnotationError(f"its id {entry['id']} occurs twice")
            names[entry["id"]] = category_text(text_field(entry, "name"))
    known = {entry.get("id") for entry in content["images"] if isinstance(entry, dict)}
    objects_of = defaultdict(list)
    for number, entry in enumerate(content["annotations"]):
        with problems.at(f"annotations[{number}]"):
            if field(entry, "image_id") not in known:
                raise AnnotationError(f"its image {entry['image_id']} is not in the file")
            if field(entry, "category_id") not in names:
                raise AnnotationError(f"its category {entry['category_id']} is not in the file")
            objects_of[entry["image_id"]].append((number, entry))
    seen: set[Any] = set()
    for number, image in enumerate(content["images"]):
        with problems.at(f"images[{number}]"):
            name = text_field(image, "file_name")
            size = check_size(field(image, "height"), field(image, "width"))
            if field(image, "id") in seen:
                raise AnnotationError(f"its id {image['id']} occurs twice")
            seen.add(image["id"])
            objects = objects_of[image["id"]]
            yield _image_objects(name, size, objects, names, problems)


def _image_objects(
    path: str,
    size: tuple[int, int],
    entries: Sequence[tuple[int, Any]],
    names: dict[Any, str],
    problems: Problems,
) -> ImageObjects:
    found: list[tuple[str, Box]] = []
    crowds = set()
    for number, entry in entries:
        with problems.at(f"annotations[{number}] of {path}"):
            category = names[entry["category_id"]]
            values = field(entry, "bbox")
            if not isinstance(values, list) or len(values) != 4:
                raise AnnotationError(f"its bbox is {values!r}, not x, y, width, height")
            box = check_box(_corners(values), size, overhang=math.inf)
            if entry.get("iscrowd"):
                crowds.add(category)
                problems.left_out["boxes around a crowd"] += 1
            else:
                found.append((category, box))
    categories, boxes = zip(*found, strict=True) if found else ((), ())
    return ImageObjects(path, size, categories, boxes, frozenset(crowds))


def _corners(values: Sequence[Any]) -> Sequence[Any]:
    """Corners of x, y, width, height; values that are no numbers stay, to be named."""
    if not all(isinstance(value, int | float) for value in values):
        return values
    x, y, width, height = values
    return x, y, x + width, y + height
