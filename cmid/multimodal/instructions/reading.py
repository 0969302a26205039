"""Labelled sets of this project's kinds as annotated images."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cmid.boxes import Box
from cmid.data.folder import IMAGE_EXTENSIONS, ImageFolder, find_files
from cmid.data.image_size import stored_size
from cmid.data.listing import files_by_name
from cmid.data.masks import (
    IGNORED,
    MASK_EXTENSIONS,
    label_table,
    read_labels,
    read_mask,
)
from cmid.multimodal.instructions.annotated import Annotated, Changes
from cmid.vision_language.data.coco import read_coco
from cmid.vision_language.data.conversion import existing_images
from cmid.vision_language.data.dota import read_dota
from cmid.vision_language.data.files import AnnotatedFiles
from cmid.vision_language.data.opening import open_texts
from cmid.vision_language.data.problems import AnnotationError, OnError, Problems
from cmid.vision_language.prompts.class_names import named_classes

_SMALLEST_CHANGE = 1e-3  # of the area; smaller connected changes are not told of


def classification(root: Path, *, names: str | None = None) -> Iterator[Annotated]:
    """A folder a class; ``names`` as `cmid.vision_language.prompts.class_names.named_classes`."""
    source = ImageFolder(root, labels="folders")
    texts = named_classes(source.classes, names)
    for path, label in zip(source.paths, source.labels, strict=True):
        yield Annotated((root / os.fsdecode(bytes(path)),), label=texts[int(label)])


def coco(path: Path, images: Path, problems: Problems) -> Iterator[Annotated]:
    """Boxes in COCO's form."""
    for objects in existing_images(read_coco(path, problems), images, problems):
        yield Annotated((images / objects.path,), objects=objects)


def dota(root: Path, problems: Problems) -> Iterator[Annotated]:
    """Oriented boxes in DOTA's form: ``images/`` and ``labelTxt/``."""
    for objects in read_dota(root / "images", root / "labelTxt", problems):
        yield Annotated((root / "images" / objects.path,), objects=objects)


def masks(root: Path, names: Sequence[str], problems: Problems) -> Iterator[Annotated]:
    """``img_dir/`` and ``ann_dir/``; ``names`` are those of the labels 0, 1, ..."""
    table = label_table(len(names))
    annotations = files_by_name(root / "ann_dir", MASK_EXTENSIONS)
    for image in find_files(root / "img_dir", IMAGE_EXTENSIONS):
        with problems.at(image):
            path = root / "img_dir" / image
            try:
                mask = annotations[str(Path(image).with_suffix(""))]
                labels = read_labels(mask, table, image=("its image", stored_size(path)))
            except KeyError:
                raise AnnotationError(f"{root / 'ann_dir'} has no mask of its name") from None
            except ValueError as error:
                raise AnnotationError(str(error)) from error
            counts = np.bincount(labels.ravel(), minlength=256)
            cover = {
                name: counts[number] / labels.size
                for number, name in enumerate(names)
                if counts[number]
            }
            yield Annotated((path,), cover=cover, whole=not counts[IGNORED])


def change(
    root: Path, folders: Sequence[str], problems: Problems, *, kind: str = ""
) -> Iterator[Annotated]:
    """Pairs of images: three folders of files of equal names, the last one's are masks.

    Args:
        kind: what the masks mark, in the plural.
    """
    first, second = (files_by_name(root / name, IMAGE_EXTENSIONS) for name in folders[:2])
    for name, path in files_by_name(root / folders[2], MASK_EXTENSIONS).items():
        with problems.at(name):
            if name not in first or name not in second:
                raise AnnotationError(f"it has no image in {folders[0]} or {folders[1]}")
            try:
                mask = read_mask(path, what="label", grey_colours=True)
            except ValueError as error:
                raise AnnotationError(str(error)) from error
            changes = find_changes(mask != 0, kind)
            if changes is None:
                problems.left_out["pairs whose changes are all too small to tell of"] += 1
            else:
                yield Annotated((first[name], second[name]), changes=changes)


def find_changes(changed: NDArray[np.bool_], kind: str = "") -> Changes | None:
    """Share and connected regions of a mask ``(H, W)``, the largest region first.

    Returns:
        None where something has changed, and all of it is too small to tell of.
    """
    height, width = changed.shape
    numbered, _ = ndimage.label(changed, structure=np.ones((3, 3)))
    sizes = np.bincount(numbered.ravel())
    found: list[tuple[int, Box]] = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(numbered), 1):
        box = (columns.start / width, rows.start / height, columns.stop / width, rows.stop / height)
        if sizes[number] >= _SMALLEST_CHANGE * changed.size:
            found.append((int(sizes[number]), box))
    found.sort(key=lambda each: -each[0])
    if not found and changed.any():
        return None
    share = sum(size for size, _ in found) / changed.size
    return Changes(share, tuple(box for _, box in found), kind)


def captions(
    path: Path, images: Path | None, on_error: OnError, *, split: str | None = None
) -> Iterator[Annotated]:
    """Captions of image files: what `cmid.vision_language.data.opening.open_texts` opens.

    Args:
        split: part to take, of files that tell splits.

    Raises:
        ValueError: images that are no files.
    """
    source = open_texts(path, root=images, split=split, on_error=on_error)
    if not isinstance(source, AnnotatedFiles):
        raise ValueError(f"{path} holds its images itself: conversations name files of images")
    for index in range(len(source)):
        if not source.path(index).is_file():
            message = f"{path}: there is no image {source.path(index)}"
            raise FileNotFoundError(f"{message}; name their folder with --images")
        yield Annotated((source.path(index),), captions=source.captions(index))


def rounded(share: float) -> float:
    """A share with two digits that count."""
    return 0.0 if share <= 0 else round(share, 1 - math.floor(math.log10(share)))
