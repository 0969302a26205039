"""What is known of a generated scene: semantic classes, instances, captions and region phrases."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cmid.data.phrases import count_phrase, joined, place
from cmid.data.scene_drawing import Material, Shape, View

M = Material
Floats = NDArray[np.float64]
RegionPhrase = tuple[str, tuple[float, float, float, float]]

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
    polygon: Floats
    oriented_box: tuple[float, float, float, float, float]
    area: float

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Upright box x0, y0, x1, y1 in pixels."""
        x0, y0 = self.polygon.min(axis=0).tolist()
        x1, y1 = self.polygon.max(axis=0).tolist()
        return x0, y0, x1, y1


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


def clip_to_image(polygon: Floats, size: float) -> Floats:
    """Cut a ``(K, 2)`` polygon at the four borders in turn (Sutherland and Hodgman, 1974)."""
    for axis, border, sign in ((0, 0.0, 1), (0, size, -1), (1, 0.0, 1), (1, size, -1)):
        kept: list[Floats] = []
        inside = (polygon[:, axis] - border) * sign >= 0
        for k in range(len(polygon)):
            start, end = polygon[k - 1], polygon[k]
            if inside[k - 1] != inside[k]:
                share = (border - start[axis]) / (end[axis] - start[axis])
                kept.append(start + share * (end - start))
            if inside[k]:
                kept.append(end)
        polygon = np.array(kept).reshape(-1, 2)
    return polygon.clip(0, size)  # rounding of the cuts


def polygon_area(polygon: Floats) -> float:
    """Area of a ``(K, 2)`` polygon."""
    if len(polygon) < 3:
        return 0.0
    x, y = polygon.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def oriented_box(polygon: Floats) -> tuple[float, float, float, float, float]:
    """Smallest enclosing box, angle "le90": one of its sides lies along an edge of the hull.

    Edges that are not on the hull are tried as well: they cannot give a smaller box.
    """
    edges = polygon - np.roll(polygon, 1, axis=0)
    # A hull edge may join corners that are no neighbours (the wing tips of a plane).
    if len(polygon) <= 24:
        edges = (polygon[:, None] - polygon[None]).reshape(-1, 2)
    edges = edges[np.abs(edges).sum(axis=1) > 1e-6]
    angles = np.unique(np.round(np.arctan2(edges[:, 1], edges[:, 0]) % (math.pi / 2), 9))
    along = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    u, v = polygon @ along.T, polygon @ across.T  # (K, number of angles)
    best = int(np.argmin(np.ptp(u, axis=0) * np.ptp(v, axis=0)))
    centre = along[best] * (u[:, best].max() + u[:, best].min()) / 2
    centre = centre + across[best] * (v[:, best].max() + v[:, best].min()) / 2
    width, height, angle = float(np.ptp(u[:, best])), float(np.ptp(v[:, best])), angles[best]
    if width < height:
        width, height, angle = height, width, angle + math.pi / 2
    angle = (angle + math.pi / 2) % math.pi - math.pi / 2
    return float(centre[0]), float(centre[1]), width, height, float(angle)


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
        elif len(group) > 1 and group[0].area > 1.1 * group[1].area:
            phrases.append((f"the largest {category}", group[0].box))
        places = [place(x / size, y / size) for x, y, *_ in (i.oriented_box for i in group)]
        for instance, where in zip(group, places, strict=True):
            if places.count(where) == 1 and instance.area >= 8:
                phrases.append((f"the {category} in the {where}", instance.box))
    for value in range(SEMANTIC_CLASSES.index(INSTANCE_CATEGORIES[0])):
        parts, count = ndimage.label(mask == value)
        areas = np.bincount(parts.ravel(), minlength=2)[1:]
        if not count or not 0.04 * mask.size < areas.max() < 0.85 * mask.size:
            continue
        rows, columns = ndimage.find_objects(parts)[int(areas.argmax())]
        box = tuple(float(v) for v in (columns.start, rows.start, columns.stop, rows.stop))
        phrases.append((f"the largest area of {SEMANTIC_CLASSES[value]}", box))  # type: ignore[arg-type]
    return tuple(phrases)
