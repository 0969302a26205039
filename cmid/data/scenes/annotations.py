"""What is known of a generated scene: semantic classes, instances, captions and region phrases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cmid.boxes import Box, OrientedBox, around, clip_to_image, oriented_box, polygon_area
from cmid.data.scenes.drawing import Material, Shape, View
from cmid.data.scenes.phrases import CLEARLY, count_phrase, joined, place

M = Material
RegionPhrase = tuple[str, Box]

INSTANCE_CATEGORIES: tuple[str, ...] = ("building", "ship", "plane", "storage tank", "vehicle")
SEMANTIC_CLASSES: tuple[str, ...] = (
    *("low vegetation", "cropland", "trees", "bare ground", "water", "pavement"),
    *INSTANCE_CATEGORIES,
)
_MATERIALS_OF: dict[str, tuple[Material, ...]] = {
    "low vegetation": (M.GRASS, M.SHRUB),
    "cropland": (M.CROP, M.STUBBLE),
    "trees": (M.TREE,),
    "bare ground": (M.SOIL, M.SAND, M.ROCK),
    "water": (M.WATER, M.FOAM),
    "pavement": (M.ASPHALT, M.CONCRETE, M.PAINT),
    "building": (M.TILES, M.FLAT_ROOF, M.METAL_ROOF),
    "ship": (M.HULL, M.DECK),
    "plane": (M.PLANE,),
    "storage tank": (M.TANK,),
    "vehicle": (M.CAR,),
}
SEMANTIC_OF_MATERIAL: NDArray[np.uint8] = np.zeros(len(Material), dtype=np.uint8)
for _name, _materials in _MATERIALS_OF.items():
    SEMANTIC_OF_MATERIAL[list(_materials)] = SEMANTIC_CLASSES.index(_name)

SMALLEST_AREA = 1.0  # square pixels of an instance that is worth naming
PLAIN_AREA = 8.0
"""Square pixels of an instance that is plainly seen; slivers at the edge are less."""
# Nothing is named here that might lie outside the image, such as the runway of an airport.
_SETTING = {
    "farmland": "farmland divided into fields",
    "forest": "a forest",
    "inland water": "a river or lake in open country",
    "junction": "a road junction",
    "residential": "a residential area",
    "harbour": "a harbour",
    "airport": "an airport",
    "storage tanks": "an industrial storage site",
    "beach": "a beach by the sea",
    "bare soil": "bare open ground",
}


@dataclass(frozen=True)
class Instance:
    """One object in sight.

    Attributes:
        category: one of `INSTANCE_CATEGORIES`.
        polygon: ``(K, 2)`` float outline x, y in pixels (pixel ``i`` covers ``[i, i + 1)``),
            clipped to the image.
        oriented_box: centre x, y, width, height and angle in radians of the smallest box around
            the polygon: ``width >= height``, angle in ``[-pi/2, pi/2)`` (the "le90" convention).
        area: square pixels inside the polygon.
    """

    category: str
    polygon: NDArray[np.float64]
    oriented_box: OrientedBox
    area: float

    @property
    def box(self) -> Box:
        """Upright box x0, y0, x1, y1 in pixels."""
        return around(self.polygon)


def find_instances(shapes: Sequence[Shape], view: View, *, date: int) -> tuple[Instance, ...]:
    """Instances of one date with their outlines clipped to the image."""
    found = []
    for shape in shapes:
        if shape.category and shape.dates & date:
            polygon = clip_to_image(view.to_pixels(shape.points), view.size)
            area = polygon_area(polygon)
            if area >= SMALLEST_AREA:
                found.append(Instance(shape.category, polygon, oriented_box(polygon), area))
    return tuple(found)


def describe(
    class_name: str, instances: Sequence[Instance], mask: NDArray[np.uint8]
) -> tuple[str, ...]:
    """Captions that are true of the instances and of the ``(H, W)`` semantic mask."""
    counts = Counter(instance.category for instance in instances)
    cover = np.bincount(mask.ravel(), minlength=len(SEMANTIC_CLASSES)) / mask.size
    setting = _SETTING[class_name]
    if class_name == "residential":
        built = cover[SEMANTIC_CLASSES.index("building")]
        density = "dense" if built > 0.3 else "sparse" if built < 0.15 else "medium density"
        setting = f"a {density} residential area"
    captions = [f"an aerial image of {setting}", f"{setting} seen from above"]
    if counts:
        phrases = [count_phrase(name, counts[name]) for name in INSTANCE_CATEGORIES if counts[name]]
        captions.append(f"{setting}; {joined(phrases)} can be seen")
    ranked = np.argsort(-cover, kind="stable").tolist()
    main = [_plural(SEMANTIC_CLASSES[k]) for k in ranked[:2] if cover[k] > 0.1 or k == ranked[0]]
    captions.append(f"{class_name}: the ground is mostly {joined(main)}")
    share = round(100 * float(cover.max()))
    captions.append(f"about {share} percent of this {class_name} scene is {main[0]}")
    # Without the land use, which alone would tell most scenes apart.
    captions.append(f"mostly {joined(main)}, seen from above")
    present = [_plural(SEMANTIC_CLASSES[k]) for k in ranked if cover[k] > 0.04]
    captions.append(f"an aerial image with {joined(present)}")
    return tuple(captions)


def _plural(name: str) -> str:
    return f"{name}s" if name in INSTANCE_CATEGORIES else name


def phrase_regions(
    instances: Sequence[Instance], mask: NDArray[np.uint8]
) -> tuple[RegionPhrase, ...]:
    """Phrases with boxes: the largest and the only one of a kind, by place, and areas of cover."""
    size = len(mask)
    phrases: list[RegionPhrase] = []
    for category in INSTANCE_CATEGORIES:
        group = sorted((i for i in instances if i.category == category), key=lambda i: -i.area)
        if len(group) == 1:
            phrases.append((f"the only {category}", group[0].box))
        elif len(group) > 1 and group[0].area > CLEARLY * group[1].area:
            phrases.append((f"the largest {category}", group[0].box))
        places = [place(x / size, y / size) for x, y, *_ in (i.oriented_box for i in group)]
        for instance, where in zip(group, places, strict=True):
            if places.count(where) == 1 and instance.area >= PLAIN_AREA:
                phrases.append((f"the {category} in the {where}", instance.box))
    covers = SEMANTIC_CLASSES.index(INSTANCE_CATEGORIES[0])
    for value in np.flatnonzero(np.bincount(mask.ravel())[:covers] > 0.04 * mask.size):
        parts, _ = ndimage.label(mask == value)
        areas = np.bincount(parts.ravel())[1:]
        if not 0.04 * mask.size < areas.max() < 0.85 * mask.size:
            continue
        rows, columns = ndimage.find_objects(parts)[int(areas.argmax())]
        box = tuple(float(v) for v in (columns.start, rows.start, columns.stop, rows.stop))
        phrases.append((f"the largest area of {SEMANTIC_CLASSES[value]}", box))  # type: ignore[arg-type]
    return tuple(phrases)
