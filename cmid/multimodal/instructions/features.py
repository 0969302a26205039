"""Map features over georeferenced images: what OpenStreetMap or any vector file says of them.

The idea behind LHRS-Align (arXiv:2402.02544): class tags of features that lie in an image become
attributes, and attributes captions. A map may lack what is on the ground, and cut one road
into several features, so nothing is counted and nothing said to be absent.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cmid.boxes import around
from cmid.data.raster_paths import find_rasters
from cmid.data.rasters import opened
from cmid.data.scenes.phrases import joined, place
from cmid.multimodal.instructions.annotated import Annotated
from cmid.multimodal.instructions.reading import rounded
from cmid.vision_language.data.objects import ImageObjects
from cmid.vision_language.data.problems import AnnotationError, Problems

CLASS_TAGS = (
    *("aeroway", "amenity", "building", "highway", "landuse", "leisure", "man_made", "natural"),
    *("power", "railway", "waterway"),
)
_PLAIN_VALUES = ("", "yes", "true", "1")
_HSTORE = re.compile(r'"([^"]+)"=>"([^"]*)"')
_NAMED = 6  # categories of a caption
_SMALLEST_SIDE = 4  # pixels; objects below it cannot be pointed at
_SENTENCES = (
    "By the map, what this image shows is {things}.",
    "On the map of this image: {things}.",
    "The map names here {things}.",
)


@dataclass(frozen=True, eq=False)
class Features:
    """Features of a vector file.

    Attributes:
        categories: as text. geometries: of shapely. crs: what rasterio takes; None without one.
    """

    categories: tuple[str, ...]
    geometries: Any
    crs: Any


def read_features(path: Path, tags: Sequence[str] = CLASS_TAGS) -> Features:
    """Features with a class: those that have one of the tags as a column, or in ``other_tags``.

    Raises:
        FileNotFoundError: no such file.
        ModuleNotFoundError: the extra ``geo`` is not installed.
        ValueError: no vector file, or none of its features has such a tag.
    """
    try:
        import pyogrio
        import rasterio  # noqa: F401
        import shapely
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"map features need {error.name}: pip install 'cmid[geo]'"
        ) from error
    if not path.is_file():
        raise FileNotFoundError(f"no file of features {path}")
    try:
        about, _, shapes, columns = pyogrio.raw.read(path)
    except pyogrio.errors.DataSourceError as error:
        raise ValueError(
            f"{path} is no vector file ({error}): give GeoPackage or GeoJSON"
        ) from error
    named = dict(zip(about["fields"], columns, strict=True))
    rows = range(len(shapes))
    classes = [_category({k: v[row] for k, v in named.items()}, tags) for row in rows]
    kept = [row for row in rows if classes[row] and shapes[row] is not None]
    if not kept:
        raise ValueError(
            f"{path} has no feature with {', '.join(tags)}: name the columns of its classes with"
            f" --tags; it has {', '.join(named) or 'none'}"
        )
    geometries = shapely.make_valid(shapely.from_wkb(shapes[kept]))
    categories = tuple(each for row in kept if (each := classes[row]) is not None)
    return Features(categories, geometries, about["crs"])


def _category(row: Mapping[str, Any], tags: Sequence[str]) -> str | None:
    """``residential road`` of ``highway=residential``; ``building`` of ``building=yes``."""
    own = {k: v for k, v in row.items() if isinstance(v, str)}
    more = dict(_HSTORE.findall(own.pop("other_tags", "")))
    for tag in tags:
        value = {**more, **own}.get(tag)
        if value is None or value == "no":
            continue
        key, word = (text.replace("_", " ").strip().lower() for text in (tag, value))
        if word in _PLAIN_VALUES:
            return key
        kind = {"highway": "road", "building": "building"}.get(tag, "")
        return f"{word} {kind}".strip()
    return None


def annotate(rasters: Path, features: Features, problems: Problems) -> Iterator[Annotated]:
    """Georeferenced images with the features that lie in them; without any, they are counted."""
    for path in find_rasters(rasters):
        with problems.at(path), opened(path) as scene:
            if scene.crs is None:
                raise AnnotationError("it has no reference system: its place is not known")
            item = _annotated(Path(path), scene, features)
            if item is None:
                problems.left_out["images without features"] += 1
            else:
                yield item


def _annotated(path: Path, scene: Any, features: Features) -> Annotated | None:
    """What lies in an open raster."""
    import shapely

    inside = _in_pixels(scene, features)
    if not inside:
        return None
    size = scene.height, scene.width
    total = size[0] * size[1]
    groups: dict[str, list[Any]] = defaultdict(list)
    boxes, categories = [], []
    for category, shape in inside:
        groups[category].append(shape)
        x0, y0, x1, y1 = (float(value) for value in shape.bounds)
        if shape.area > 0 and min(x1 - x0, y1 - y0) >= _SMALLEST_SIDE:
            boxes.append((x0, y0, x1, y1))
            categories.append(category)
    share = {name: shapely.union_all(shapes).area / total for name, shapes in groups.items()}
    attributes = {
        name: {
            "features": len(shapes),
            "share": rounded(share[name]),
            "place": place(*_centre(max(shapes, key=lambda s: (s.area, s.length)), size)),
        }
        for name, shapes in sorted(groups.items(), key=lambda g: (-share[g[0]], g[0]))
    }
    objects = ImageObjects(path.name, size, tuple(categories), tuple(boxes))
    said = (describe_attributes(attributes, path.name),)
    return Annotated((path,), objects=objects, partial=True, captions=said, attributes=attributes)


def _in_pixels(scene: Any, features: Features) -> list[tuple[str, Any]]:
    """Categories, and geometries cut at the image's borders, x and y in its pixels."""
    import shapely
    from rasterio import warp

    frame = shapely.box(0, 0, scene.width, scene.height)
    bounds = scene.bounds
    if features.crs is not None and features.crs != scene.crs:
        bounds = warp.transform_bounds(scene.crs, features.crs, *bounds)
    near = shapely.intersects(features.geometries, shapely.box(*bounds))
    inverse = ~scene.transform
    found = []
    for number in np.flatnonzero(near):

        def to_pixels(points: Any) -> Any:
            x, y = points[:, 0], points[:, 1]
            if features.crs is not None and features.crs != scene.crs:
                x, y = map(np.array, warp.transform(features.crs, scene.crs, x, y))
            return np.stack(inverse * (x, y), axis=1)

        shape = shapely.transform(features.geometries[number], to_pixels)
        cut = shapely.intersection(shapely.make_valid(shape), frame)
        if not cut.is_empty:
            found.append((features.categories[number], cut))
    return found


def _centre(shape: Any, size: tuple[int, int]) -> tuple[float, float]:
    x0, y0, x1, y1 = around(np.array(shape.bounds).reshape(2, 2))
    return (x0 + x1) / 2 / size[1], (y0 + y1) / 2 / size[0]


def describe_attributes(attributes: Mapping[str, Mapping[str, Any]], name: str) -> str:
    """A caption that names attributes, the largest first; wording drawn from the image's name."""
    draws = random.Random(f"cmid features {name}")
    shown = [*attributes.items()][:_NAMED]
    things = [category for category, _ in shown]
    if len(attributes) > _NAMED:
        things.append("more")
    sentence = draws.choice(_SENTENCES).format(things=joined(things))
    first, about = shown[0]
    if about["share"] >= 0.01:
        sentence += f" About {100 * about['share']:.0f} percent of it is {first}."
    return sentence
