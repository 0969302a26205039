"""DIOR and DIOR-R: their XML files turned into one file of COCO's form a part."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from tqdm import tqdm

from benchmarks.detection.coco import check_size
from cmid.boxes import around, polygon_area
from cmid.data.text_files import read_text
from cmid.files import new_folder

DIOR_CLASSES = (
    *("airplane", "airport", "baseballfield", "basketballcourt", "bridge", "chimney", "dam"),
    *("expressway-service-area", "expressway-toll-station", "golffield", "groundtrackfield"),
    *("harbor", "overpass", "ship", "stadium", "storagetank", "tenniscourt", "trainstation"),
    *("vehicle", "windmill"),
)
PARTS = {"trainval": ("train", "val"), "test": ("test",)}
BOXES = {"horizontal": "Horizontal Bounding Boxes", "oriented": "Oriented Bounding Boxes"}
_IMAGES = ("JPEGImages-trainval", "JPEGImages-test", "JPEGImages")
_LISTS = ("ImageSets/Main", "Main")
_CORNERS = [
    f"{axis}_{corner}"
    for corner in ("left_top", "right_top", "right_bottom", "left_bottom")
    for axis in "xy"
]


@dataclass
class DiorCounts:
    """What one file holds.

    Attributes:
        images: number of images. objects: number of objects by class.
        degenerate: boxes without an area, which were left out.
    """

    images: int = 0
    objects: Counter[str] = field(default_factory=Counter)
    degenerate: int = 0

    def __str__(self) -> str:
        classes = ", ".join(f"{name} {self.objects[name]}" for name in DIOR_CLASSES)
        return (
            f"{self.images} images, {self.objects.total()} objects ({self.degenerate} boxes without"
            f" an area left out): {classes}"
        )


def convert_dior(root: Path, out: Path) -> dict[str, DiorCounts]:
    """Write ``{horizontal,oriented}_{trainval,test}.json``, as far as ``root`` has the boxes.

    Args:
        root: ``JPEGImages-trainval/``, ``JPEGImages-test/``, ``Annotations/{Horizontal,Oriented}
            Bounding Boxes/`` and ``ImageSets/Main/{train,val,test}.txt`` (or ``Main/``), as
            published. Coordinates are taken as they are.
        out: new folder of the files; image names in them are relative to ``root``.

    Returns:
        The counts of each file.

    Raises:
        FileExistsError: ``out`` is not empty.
        FileNotFoundError: a folder, list, image or XML file is missing.
        UnreadableImageError: an image is none.
        ValueError: an XML file without what is needed, with an unknown class, or with another size
            than its image.
    """
    kinds = [kind for kind, name in BOXES.items() if (root / "Annotations" / name).is_dir()]
    if not kinds:
        raise FileNotFoundError(f"{root}/Annotations has none of {', '.join(BOXES.values())}")
    counts = {}
    with new_folder(out) as folder:
        for part, lists in PARTS.items():
            names = [name for each in lists for name in _read_list(root, each)]
            paths = [_find_image(root, name) for name in names]
            for kind in kinds:
                content, count = _convert(root, paths, kind=kind, title=f"{kind} {part}")
                (folder / f"{kind}_{part}.json").write_text(json.dumps(content))
                counts[f"{kind}_{part}"] = count
    return counts


def _convert(
    root: Path, images: list[Path], *, kind: str, title: str
) -> tuple[dict[str, Any], DiorCounts]:
    counts = DiorCounts()
    content: dict[str, Any] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": k, "name": name} for k, name in enumerate(DIOR_CLASSES)],
    }
    for number, image in enumerate(tqdm(images, desc=title, unit="image")):
        path = root / "Annotations" / BOXES[kind] / f"{image.stem}.xml"
        tree = _parse(path)
        size = tuple(int(_number(tree, f"size/{side}", path)) for side in ("height", "width"))
        check_size(f"{path}", image, size)
        content["images"].append(
            {
                "id": number,
                "file_name": image.relative_to(root).as_posix(),
                "width": size[1],
                "height": size[0],
            }
        )
        counts.images += 1
        for entry in tree.iterfind("object"):
            category = (entry.findtext("name") or "").strip().lower()
            if category not in DIOR_CLASSES:
                raise ValueError(f"{path}: no class of DIOR: {category!r}")
            shape = _shape(entry, kind, path)
            if shape["bbox"][2] <= 0 or shape["bbox"][3] <= 0 or shape["area"] <= 0:
                counts.degenerate += 1
                continue
            counts.objects[category] += 1
            content["annotations"].append(
                {
                    "id": len(content["annotations"]),
                    "image_id": number,
                    "category_id": DIOR_CLASSES.index(category),
                    "iscrowd": 0,
                    **shape,
                }
            )
    return content, counts


def _shape(entry: ElementTree.Element, kind: str, path: Path) -> dict[str, Any]:
    """Box, area and, of an oriented one, its corners as a polygon."""
    if kind == "horizontal":
        x0, y0, x1, y1 = (
            _number(entry, f"bndbox/{key}", path) for key in ("xmin", "ymin", "xmax", "ymax")
        )
        width, height = x1 - x0, y1 - y0
        return {"bbox": [x0, y0, width, height], "area": width * height}
    corners = np.array([_number(entry, f"robndbox/{key}", path) for key in _CORNERS])
    points = corners.reshape(4, 2)
    x0, y0, x1, y1 = around(points)
    box = [x0, y0, x1 - x0, y1 - y0]
    return {"bbox": box, "area": polygon_area(points), "segmentation": [corners.tolist()]}


def _number(entry: ElementTree.Element, key: str, path: Path) -> float:
    try:
        value = float(entry.findtext(key) or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{path}: {entry.tag} has no number {key}")
    return value


def _parse(path: Path) -> ElementTree.Element:
    try:
        return ElementTree.parse(path).getroot()
    except FileNotFoundError:
        raise FileNotFoundError(f"no annotation {path}") from None
    except (
        ElementTree.ParseError,
        LookupError,
        ValueError,
    ) as error:  # ValueError: an unknown encoding
        raise ValueError(f"{path} is not XML ({error})") from error


def _read_list(root: Path, part: str) -> list[str]:
    for folder in _LISTS:
        path = root / folder / f"{part}.txt"
        if path.is_file():
            return read_text(path).split()
    raise FileNotFoundError(f"no list {root / _LISTS[0] / part}.txt")


def _find_image(root: Path, name: str) -> Path:
    for folder in _IMAGES:
        path = root / folder / f"{name}.jpg"
        if path.is_file():
            return path
    raise FileNotFoundError(f"no image {name}.jpg in {', '.join(_IMAGES)} of {root}")
