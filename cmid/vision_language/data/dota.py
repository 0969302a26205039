"""Objects of DOTA's text files, for texts about them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from cmid.boxes import Box, around
from cmid.data.dota import read_objects
from cmid.data.folder import IMAGE_EXTENSIONS, find_files
from cmid.data.image_size import stored_size
from cmid.data.source import UnreadableImageError
from cmid.vision_language.data.boxes import check_box
from cmid.vision_language.data.objects import Corners, ImageObjects
from cmid.vision_language.data.problems import AnnotationError, Problems
from cmid.vision_language.prompts.class_names import category_text


def read_dota(images: Path, labels: Path, problems: Problems) -> Iterator[ImageObjects]:
    """Images with their oriented objects, and the upright boxes around them, cut off at the border.

    Args:
        images, labels: folders; ``labels`` holds a text file of the stem of each image.
        problems: what faulty files and boxes do.

    Raises:
        FileNotFoundError: a folder is missing.
        ValueError: (as ``problems`` says) a file is faulty, or a box lies beside its image.
    """
    for folder in (images, labels):
        if not folder.is_dir():
            raise FileNotFoundError(f"folder {folder} does not exist: DOTA has images and labelTxt")
    for name in find_files(images, IMAGE_EXTENSIONS):
        with problems.at(name):
            try:
                objects = read_objects(labels / Path(name).with_suffix(".txt"))
                size = stored_size(images / name)
            except (FileNotFoundError, ValueError, UnreadableImageError) as error:
                raise AnnotationError(str(error)) from error
            kept: list[tuple[str, Box, Corners]] = []
            for number, corners in enumerate(objects.corners):
                with problems.at(f"{name}, object {number}"):
                    box = check_box(around(corners), size, overhang=math.inf)
                    category = category_text(objects.categories[number])
                    kept.append((category, box, tuple(map(tuple, corners.tolist()))))
            categories, boxes, turned = zip(*kept, strict=True) if kept else ((), (), ())
            yield ImageObjects(name, size, categories, boxes, corners=turned)
