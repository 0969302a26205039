"""From annotated objects to the JSON form of MGRS-200k, which `RegionTexts` reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmid.files import write_text
from cmid.vision_language.data.objects import ImageObjects, describe_image, describe_objects
from cmid.vision_language.data.problems import AnnotationError, Problems


@dataclass(frozen=True)
class ConversionCounts:
    """What was written.

    Attributes:
        images, empty_images: written, and left out because they have no objects.
        regions: written.
        captioned_regions: number of regions with a caption of their own.
        categories: number of different ones.
    """

    images: int
    empty_images: int
    regions: int
    captioned_regions: int
    categories: int

    def __str__(self) -> str:
        return (
            f"{self.images} images, {self.regions} regions of {self.categories} categories"
            f" ({self.captioned_regions} with a caption of their own); left out:"
            f" {self.empty_images} images without objects"
        )


def existing_images(
    images: Iterable[ImageObjects], folder: Path, problems: Problems
) -> Iterator[ImageObjects]:
    """Pass on what is there; raises ValueError for the first missing image, or counts them."""
    for objects in images:
        with problems.at(objects.path):
            if not (folder / objects.path).is_file():
                raise AnnotationError(f"its image {folder / objects.path} does not exist")
            yield objects


def write_region_texts(
    images: Iterable[ImageObjects], out: Path, *, seed: int = 0
) -> ConversionCounts:
    """Write captions and region texts of annotated images.

    ``brief_caption`` counts the objects, ``global_caption`` also says where they are; a region has
    its category and, where a phrase is true of it alone, a caption ``cap``.

    Args:
        images: the images.
        out: JSON file; written under a temporary name, then renamed.
        seed: random seed of the wording.

    Raises:
        ValueError: no image has an object.
    """
    entries: list[dict[str, Any]] = []
    numbers: dict[str, int] = {}
    empty = captioned = regions = 0
    for objects in images:
        captions = describe_image(objects, seed=seed)
        if not captions:
            empty += 1
            continue
        segments = _segments(objects, numbers, seed)
        regions += len(segments)
        captioned += sum("cap" in segment for segment in segments)
        entry = {"global_filepath": objects.path, "global_caption": captions[-1]}
        entries.append({**entry, "brief_caption": captions[0], "segment": segments})
    if not entries:
        raise ValueError(f"nothing to write to {out}: none of {empty} images has an object")
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
    write_text(out, f"[\n{lines}\n]\n")
    return ConversionCounts(len(entries), empty, regions, captioned, len(numbers))


def _segments(objects: ImageObjects, numbers: dict[str, int], seed: int) -> list[dict[str, Any]]:
    """Regions; categories are numbered in the order in which they appear."""
    height, width = objects.size
    segments = []
    phrases = describe_objects(objects, seed=seed)
    for category, box, phrase in zip(objects.categories, objects.boxes, phrases, strict=True):
        corners = zip(("x1", "y1", "x2", "y2"), (round(v, 6) for v in box), strict=True)
        segment: dict[str, Any] = {
            "bbox": {**dict(corners), "W": width, "H": height},
            "category": category,
            "category_id": numbers.setdefault(category, len(numbers)),
        }
        segments.append({**segment, "cap": phrase} if phrase else segment)
    return segments
