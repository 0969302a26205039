"""Region texts in the JSON form of MGRS-200k (FarSLIP, arXiv:2511.14901)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from cmid.boxes import Box
from cmid.vision_language.data.boxes import BoxLimitConfig, check_box, check_size
from cmid.vision_language.data.files import AnnotatedFiles, FileEntry, RegionEntry
from cmid.vision_language.data.problems import (
    AnnotationError,
    Problems,
    field,
    load_json,
    text_field,
)
from cmid.vision_language.prompts.class_names import category_text
from cmid.vision_language.prompts.templates import CATEGORY_TEMPLATES

CAPTION_FIELDS = ("global_caption", "detailed_caption", "brief_caption")
_CORNERS = ("x1", "y1", "x2", "y2")
_OVERHANG = 1.0  # pixels; rounded corners lie on the border or just behind it


class RegionTexts(AnnotatedFiles):
    """Images with captions and described boxes.

    The file is a list of ``{global_filepath, global_caption, segment: [{bbox: {x1, y1, x2, y2, W,
    H}, category, cap}]}``. Captions may also be called ``detailed_caption`` and ``brief_caption``;
    all that are there are used. ``W`` and ``H`` are the image's size; a region has a category, a
    caption ``cap`` of its own, or both. Other fields have no effect.

    Args:
        path: the JSON file.
        coordinates: ``pixel``, ``normalized`` (fractions of the image), or ``auto``: normalised if
            no corner in the whole file is above 1.
        captions: names of the fields to take captions from.
        templates: prompts of a region's category, with ``{}`` in them.
        limits: areas of boxes that are used; others are counted and reported.
        **file: of `AnnotatedFiles`; ``on_error="skip"`` leaves out a faulty region, or an image
            without path or caption, and reports how many.

    Raises:
        FileNotFoundError: the file or its first image does not exist.
        ValueError: it is no such list, or an entry is faulty; names the file and the entry.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        coordinates: Literal["auto", "pixel", "normalized"] = "auto",
        captions: Sequence[str] = CAPTION_FIELDS,
        templates: Sequence[str] = CATEGORY_TEMPLATES,
        limits: BoxLimitConfig = BoxLimitConfig(),
        **file: Any,
    ) -> None:
        self.normalized = coordinates == "normalized"
        self.coordinates = coordinates
        self.caption_fields = tuple(captions)
        self.templates = templates
        self.limits = limits
        super().__init__(path, **file)

    def entries(self, path: Path, problems: Problems) -> Iterator[FileEntry]:
        content = load_json(path)
        if not isinstance(content, list):
            raise ValueError(f"{path} is not a list of images with global_filepath and segment")
        if self.coordinates == "auto":
            self.normalized = _are_fractions(content)
        for number, entry in enumerate(content):
            with problems.at(f"entry {number}"):
                name = text_field(entry, "global_filepath")
                captions = self._captions(entry)
                segments = entry.get("segment", [])
                if not isinstance(segments, list):
                    raise AnnotationError("its segment is not a list")
                regions: list[RegionEntry] = []
                size: tuple[int, int] | None = None
                for place, segment in enumerate(segments):
                    with problems.at(f"entry {number} ({name}), segment {place}"):
                        region, own_size = self._parse_region(segment)
                        if size not in (None, own_size):
                            raise AnnotationError(f"its W and H differ from {size} of the others")
                        size = own_size
                        if self.limits.admit(region.box):
                            regions.append(region)
                        else:
                            problems.left_out["boxes beyond the limits of area"] += 1
                yield FileEntry(name, captions, tuple(regions), size)

    def _captions(self, entry: Any) -> tuple[str, ...]:
        captions = [text_field(entry, name) for name in self.caption_fields if entry.get(name)]
        if not captions:
            raise AnnotationError(f"it has none of {', '.join(self.caption_fields)}")
        return tuple(dict.fromkeys(captions))

    def _parse_region(self, segment: Any) -> tuple[RegionEntry, tuple[int, int]]:
        bbox = field(segment, "bbox")
        corners = [field(bbox, name) for name in _CORNERS]
        height, width = size = check_size(field(bbox, "H"), field(bbox, "W"))
        category = category_text(text_field(segment, "category")) if "category" in segment else None
        cap = (text_field(segment, "cap"),) if segment.get("cap") else ()
        if not category and not cap:
            raise AnnotationError("it has neither a category nor a cap")
        box: Box
        if self.normalized:
            x0, y0, x1, y1 = check_box(corners, (1.0, 1.0), overhang=_OVERHANG / min(size))
            box = x0 * width, y0 * height, x1 * width, y1 * height
        else:
            box = check_box(corners, size, overhang=_OVERHANG)
            if max(box) <= 1:
                raise AnnotationError(
                    f"its box {(*corners,)} is one pixel at most: for fractions of the image, set"
                    " coordinates to normalized"
                )
        return RegionEntry(box, category, cap), size


def _are_fractions(content: Sequence[Any]) -> bool:
    """Whether no corner of any box is above 1. Faulty entries do not count."""
    corners = [
        segment["bbox"].get(name)
        for entry in content
        if isinstance(entry, dict) and isinstance(entry.get("segment"), list)
        for segment in entry["segment"]
        if isinstance(segment, dict) and isinstance(segment.get("bbox"), dict)
        for name in _CORNERS
    ]
    return not any(isinstance(value, int | float) and value > 1 for value in corners)
