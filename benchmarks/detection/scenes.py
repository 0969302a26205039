"""Generated scenes with their boxes, on disk in COCO's form or in DOTA's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from cmid.boxes import OrientedBox, box_corners
from cmid.data.dota import OrientedObjects, write_objects
from cmid.data.scenes import INSTANCE_CATEGORIES, Instance, Scene, generate_scene
from cmid.data.scenes.folders import channels_last
from cmid.data.writing import write_image
from cmid.files import new_folder

SMALLEST_SIDE = 2.0  # pixels; what the border leaves of an object may be less, and is no object
DOTA_CATEGORIES = tuple(name.replace(" ", "-") for name in INSTANCE_CATEGORIES)


def write_scenes(out: Path, *, train: int, val: int, size: int, seed: int, bands: int = 3) -> None:
    """Write ``train/``, ``val/``, ``train.json`` and ``val.json``: COCO's form with polygons.

    Categories are `cmid.data.scenes.INSTANCE_CATEGORIES`. Some scenes have no objects.

    Args:
        out: new folder; it appears whole or not at all.
        train, val: number of scenes; no scene is in both.
        size: height and width in pixels.
        seed: random seed of the scenes.
        bands: number of bands, 3 or more: red, green, blue, infrared. Images are PNG, or GeoTIFF
            where there are more than three.

    Raises:
        FileExistsError: ``out`` is not empty.
        ValueError: a size or a number of bands that scenes do not have.
    """
    with new_folder(out) as folder:
        for part, indices in _parts(train, val).items():
            categories = [{"id": k + 1, "name": n} for k, n in enumerate(INSTANCE_CATEGORIES)]
            content: dict[str, Any] = {"images": [], "annotations": [], "categories": categories}
            for index, scene in _generated(indices, size=size, seed=seed, bands=bands, part=part):
                name = f"scene_{index:05}{_ending(bands)}"
                write_image(folder / part / name, channels_last(scene.image))
                image = {"id": index, "file_name": name, "width": size, "height": size}
                content["images"].append(image)
                for instance in visible(scene):
                    annotation = {"id": len(content["annotations"]) + 1, "image_id": index}
                    content["annotations"].append(annotation | _coco_fields(instance))
            (folder / f"{part}.json").write_text(json.dumps(content))


def write_oriented_scenes(
    out: Path, *, train: int, val: int, size: int, seed: int, bands: int = 3
) -> None:
    """Write ``{train,val}/images`` and ``{train,val}/labelTxt``: DOTA's form.

    Categories are those of `write_scenes` with hyphens. Boxes are the smallest around the
    outlines, or upright where that is as small: round tanks have no direction.

    Args:
        out, train, val, size, seed, bands: see `write_scenes`; the scenes are the same.

    Raises:
        FileExistsError, ValueError: as `write_scenes`.
    """
    with new_folder(out) as folder:
        for part, indices in _parts(train, val).items():
            images, labels = folder / part / "images", folder / part / "labelTxt"
            labels.mkdir(parents=True)
            for index, scene in _generated(indices, size=size, seed=seed, bands=bands, part=part):
                name = f"scene_{index:05}{_ending(bands)}"
                write_image(images / name, channels_last(scene.image))
                write_objects(labels / f"scene_{index:05}.txt", oriented_objects(scene))


def visible(scene: Scene) -> list[Instance]:
    """Instances of at least two pixels on both sides of their oriented box."""
    return [i for i in scene.instances if min(i.oriented_box[2:4]) >= SMALLEST_SIDE]


def oriented_objects(scene: Scene) -> OrientedObjects:
    """Oriented boxes of the visible instances."""
    instances = visible(scene)
    return OrientedObjects(
        np.array([box_corners(_box(i)) for i in instances]).reshape(-1, 4, 2),
        tuple(DOTA_CATEGORIES[INSTANCE_CATEGORIES.index(i.category)] for i in instances),
        np.zeros(len(instances), dtype=np.int64),
    )


def _box(instance: Instance) -> OrientedBox:
    """The oriented box, unless the upright one is about as small."""
    x0, y0, x1, y1 = instance.box
    width, height = instance.oriented_box[2:4]
    # 3 %: outlines of circles are polygons, whose smallest box is turned by chance.
    if (x1 - x0) * (y1 - y0) > 1.03 * width * height:
        return instance.oriented_box
    return (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0, 0.0


def _parts(train: int, val: int) -> dict[str, range]:
    return {"train": range(train), "val": range(train, train + val)}


def _ending(bands: int) -> str:
    return ".png" if bands == 3 else ".tif"


def _generated(
    indices: range, *, size: int, seed: int, bands: int, part: str
) -> Iterator[tuple[int, Scene]]:
    for index in tqdm(indices, desc=f"{part} scenes", unit="scene"):
        yield index, generate_scene(index, seed=seed, size=size, num_bands=bands)


def _coco_fields(instance: Instance) -> dict[str, Any]:
    x0, y0, x1, y1 = instance.box
    return {
        "category_id": INSTANCE_CATEGORIES.index(instance.category) + 1,
        "bbox": [round(v, 2) for v in (x0, y0, x1 - x0, y1 - y0)],
        "area": round(instance.area, 2),
        "iscrowd": 0,
        "segmentation": [np.round(instance.polygon.ravel(), 2).tolist()],
    }
