"""What a search found: where it lies, and how it looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmid.data.rasters import rasterio_module
from cmid.data.windows import Window
from cmid.inference.index import Hit
from cmid.inference.scenes import Scene
from cmid.inference.vectors import Columns


def hit_features(about: Mapping[str, Any], hits: Sequence[Hit]) -> Columns:
    """Cells as polygons with rank, score and the coordinates of their centres.

    Args:
        about: of the `SearchIndex`.

    Raises:
        ModuleNotFoundError: shapely is not installed.
    """
    try:
        import shapely
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("hits need shapely: pip install 'cmid[geo]'") from error
    corners = np.array([_to_map(about, hit, _CORNERS) for hit in hits])  # (N, 4, 2)
    centres = corners.mean(axis=1)
    return {
        "rank": np.arange(1, len(hits) + 1, dtype=np.int32),
        "score": np.array([hit.score for hit in hits], dtype=np.float32),
        "x": centres[:, 0],
        "y": centres[:, 1],
        "map": np.array([about["maps"][hit.map]["path"] for hit in hits]),
        "row": np.array([hit.row for hit in hits], dtype=np.int32),
        "column": np.array([hit.column for hit in hits], dtype=np.int32),
        "geometry": shapely.polygons(corners),
    }


def hit_pictures(
    about: Mapping[str, Any], hits: Sequence[Hit], *, size: int | None = None
) -> list[NDArray[Any]]:
    """Pixels of the scenes around hits, ``(C, size, size)`` each; 0 where there are none.

    Args:
        size: side in pixels (default: three cells, 64 at least).

    Raises:
        FileNotFoundError: a scene is not where it was.
    """
    scenes: dict[int, Scene] = {}
    pictures = []
    for hit in hits:
        if hit.map not in scenes:
            scenes[hit.map] = open_like(about["job"], about["maps"][hit.map]["scenes"])
        scene = scenes[hit.map]
        corners = np.array([~scene.area.transform * p for p in _to_map(about, hit, _CORNERS)])
        side = size or max(64, round(3 * np.ptp(corners[:, 0])))
        left, top = (corners.mean(axis=0) - side / 2).round().astype(int).tolist()
        pictures.append(_around(scene, Window(top, left, side, side)))
    return pictures


def open_like(job: Mapping[str, Any], scenes: Sequence[str]) -> Scene:
    """Scenes, read as those of a map were."""
    return Scene(
        scenes,
        bands=job["bands"] and tuple(job["bands"]),
        sensor=job["sensor"],
        nodata=job["nodata"],
        resolution=job.get("resolution"),
        physical=not job.get("stored"),
    )


def displayed(pictures: Sequence[NDArray[Any]]) -> list[NDArray[np.uint8]]:
    """The first three bands as colours, ``(H, W, 3)``; the first alone as grey.

    Other than 8-bit ones are stretched from the 2nd to the 98th percentile of all pictures.
    """
    chosen = [picture[: 3 if len(picture) > 2 else 1] for picture in pictures]
    if not all(picture.dtype == np.uint8 for picture in chosen):
        flat = np.concatenate([picture.reshape(len(picture), -1) for picture in chosen], axis=1)
        low, high = np.percentile(flat, (2, 98), axis=1)[..., None, None]
        chosen = [255 * ((p - low) / np.maximum(high - low, 1e-6)).clip(0, 1) for p in chosen]
    return [
        np.broadcast_to(p.astype(np.uint8).transpose(1, 2, 0), (*p.shape[1:], 3)) for p in chosen
    ]


_CORNERS = ((0, 0), (1, 0), (1, 1), (0, 1))


def _to_map(
    about: Mapping[str, Any], hit: Hit, offsets: Sequence[tuple[float, float]]
) -> list[tuple[float, float]]:
    """Coordinates of places in a cell, whose sides are 1."""
    transform = rasterio_module().Affine(*about["maps"][hit.map]["transform"])
    return [transform * (hit.column + across, hit.row + down) for across, down in offsets]


def _around(scene: Scene, wanted: Window) -> NDArray[Any]:
    inside = scene.area.clip(wanted)
    values = scene.read(inside)[0]
    picture = np.zeros((len(values), wanted.height, wanted.width), dtype=values.dtype)
    top, left = inside.top - wanted.top, inside.left - wanted.left
    picture[:, top : top + inside.height, left : left + inside.width] = values
    return picture
