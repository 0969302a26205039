"""DOTA's form of data for mmrotate, checked before training begins."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from mmengine.registry import DATASETS
from mmrotate.datasets import DOTADataset

from benchmarks.detection.datasets import PALETTE
from cmid.data.dota import DOTA_CLASSES, OrientedObjects, read_objects
from cmid.data.folder import IMAGE_EXTENSIONS
from cmid.data.image_size import stored_size


@DATASETS.register_module()
class CheckedDOTADataset(DOTADataset):
    """mmrotate's ``DOTADataset`` for any image format, with the original files' header lines.

    Each image needs a text file of its name, an empty one where it has no objects; such images are
    kept unless ``filter_cfg`` says otherwise. Objects beside their image are left out, counted and
    reported.

    Args:
        kwargs: arguments of ``DOTADataset``, ``img_suffix`` apart. ``ann_file`` is a folder of text
            files, empty for images without; ``diff_thr`` the difficulty above which objects are
            ignored.

    Raises:
        FileNotFoundError: a folder is missing or empty, or an image or text file without the other.
        ValueError: a line that is not of DOTA's form, an unknown category, a degenerate box; names
            the file and the line. Or it is for training, and no object counts.
    """

    METAINFO: dict[str, Any] = {"classes": DOTA_CLASSES, "palette": PALETTE}  # noqa: RUF012

    def load_data_list(self) -> list[dict[str, Any]]:
        """Check and read."""
        images = _images(Path(self.data_prefix["img_path"]))
        if self.ann_file:
            labels = _labels(Path(self.ann_file), images)
            objects = {
                name: read_objects(path, classes=self.metainfo["classes"])
                for name, path in labels.items()
            }
            objects = _within(objects, images, self.ann_file)
            self._report(objects)
        return [
            {
                "img_id": name,
                "file_name": path.name,
                "img_path": str(path),
                "instances": self._instances(objects[name]) if self.ann_file else [],
            }
            for name, path in images.items()
        ]

    def _report(self, objects: dict[str, OrientedObjects]) -> None:
        """Log how many objects there are, and which of them count neither way."""
        total = sum(map(len, objects.values()))
        ignored = sum(int((each.difficulties > self.diff_thr).sum()) for each in objects.values())
        empty = sum(not len(each) for each in objects.values())
        line = f"{self.ann_file}: {len(objects)} images ({empty} without objects), {total} objects"
        if ignored:
            line += f", {ignored} of them ignored (difficulty above {self.diff_thr})"
        if total > ignored:
            print_log(line, logger="current")
        elif self.test_mode:
            print_log(line, logger="current", level=logging.WARNING)
        else:
            raise ValueError(f"nothing to train on: {line}")

    def _instances(self, objects: OrientedObjects) -> list[dict[str, Any]]:
        numbers = {name: k for k, name in enumerate(self.metainfo["classes"])}
        return [
            {
                "bbox": corners.ravel().tolist(),
                "bbox_label": numbers[category],
                "ignore_flag": int(difficulty > self.diff_thr),
            }
            for corners, category, difficulty in zip(
                objects.corners, objects.categories, objects.difficulties, strict=True
            )
        ]


def _within(
    objects: dict[str, OrientedObjects], images: dict[str, Path], folder: str
) -> dict[str, OrientedObjects]:
    """Objects that have a part in their image; the others are reported."""
    kept, outside, first = {}, 0, ""
    for name, each in objects.items():
        kept[name] = each
        if not len(each):
            continue
        height, width = stored_size(images[name])
        beside = each.beside(height, width)
        if beside.any():
            kept[name] = each.choose(~beside)
            outside += int(beside.sum())
            first = first or f"{name}.txt, whose image is {width} x {height}"
    if outside:
        print_log(
            f"{folder}: {outside} objects left out that lie beside their image, first in {first}:"
            " are the images the annotated ones?",
            logger="current",
            level=logging.WARNING,
        )
    return kept


def _images(folder: Path) -> dict[str, Path]:
    """Images by name, in order."""
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder of images {folder}")
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_EXTENSIONS)
    if not paths:
        raise FileNotFoundError(f"no images in {folder}")
    name, number = Counter(path.stem for path in paths).most_common(1)[0]
    if number > 1:
        raise ValueError(f"{folder} has {number} images named {name}")
    return {path.stem: path for path in paths}


def _labels(folder: Path, images: dict[str, Path]) -> dict[str, Path]:
    """Text files by the names of their images."""
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder of labels {folder}")
    labels = {path.stem: path for path in sorted(folder.glob("*.txt"))}
    alone = [path for name, path in labels.items() if name not in images]
    if alone:
        raise FileNotFoundError(
            f"{alone[0]} belongs to no image, as {len(alone)} of {len(labels)} text files: add the"
            " images, or take the files away"
        )
    bare = [name for name in images if name not in labels]
    if bare:
        raise FileNotFoundError(
            f"{images[bare[0]]} has no {folder / bare[0]}.txt, {len(bare)} of {len(images)} images"
            " have none: an image without objects has an empty file"
        )
    return {name: labels[name] for name in images}
