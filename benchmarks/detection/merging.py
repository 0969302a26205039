"""Predictions on tiles, merged to those of whole images, and DOTA's submission files."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmcv.ops import nms_rotated
from mmrotate.structures.bbox import rbox2qbox
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from cmid.files import new_folder

_TILE = re.compile(r"(?P<image>.+)__(?P<side>\d+)__(?P<left>\d+)___(?P<top>\d+)")


@dataclass(frozen=True, eq=False)
class Detections:
    """Oriented boxes found in one image.

    Attributes:
        boxes: ``(N, 5)`` float32: x, y, width, height, angle in radians.
        scores: ``(N,)`` float32. labels: ``(N,)`` class numbers.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[Any]


def merge_tiles(
    tiles: Mapping[str, Detections], *, iou_threshold: float = 0.1
) -> dict[str, Detections]:
    """Move the boxes of tiles to their places and suppress doubles, class by class.

    Args:
        tiles: detections by tile, ``IMAGE__SIDE__LEFT___TOP``; boxes in pixels of the stored tile.
        iou_threshold: where two boxes of one class overlap more, the better one remains.

    Returns:
        By image, in order of first occurrence; best scores first within a class.

    Raises:
        ValueError: a name that is not a tile's.
    """
    moved: dict[str, list[Detections]] = {}
    for name, found in tiles.items():
        match = _TILE.fullmatch(name)
        if match is None:
            raise ValueError(f"{name} is not named as a tile: IMAGE__SIDE__LEFT___TOP")
        offset = np.array([float(match["left"]), float(match["top"]), 0, 0, 0], dtype=np.float32)
        shifted = Detections(found.boxes + offset, found.scores, found.labels)
        moved.setdefault(match["image"], []).append(shifted)
    return {image: _suppress(_joined(parts), iou_threshold) for image, parts in moved.items()}


def write_submission(out: Path, images: Mapping[str, Detections], classes: Sequence[str]) -> Path:
    """Write ``Task1_CLASS.txt`` for each class, and all of them in ``Task1.zip``.

    A line is ``image score x1 y1 x2 y2 x3 y3 x4 y4``.

    Args:
        out: new folder.
        images: detections by image.
        classes: names by class number.

    Returns:
        The zip file.

    Raises:
        FileExistsError: ``out`` is not empty.
    """
    with new_folder(out) as folder:
        lines: list[list[str]] = [[] for _ in classes]
        for image, found in images.items():
            corners = rbox2qbox(torch.from_numpy(found.boxes)).numpy()
            for label, score, points in zip(found.labels, found.scores, corners, strict=True):
                place = " ".join(f"{value:.2f}" for value in points)
                lines[int(label)].append(f"{image} {score:.6f} {place}\n")
        with zipfile.ZipFile(folder / "Task1.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, found_lines in zip(classes, lines, strict=True):
                path = folder / f"Task1_{name}.txt"
                path.write_text("".join(found_lines))
                archive.write(path, path.name)
    return out / "Task1.zip"


def _joined(parts: Sequence[Detections]) -> Detections:
    return Detections(
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.labels for part in parts]),
    )


def remaining(
    boxes: NDArray[Any], scores: NDArray[Any], labels: NDArray[Any], *, iou_threshold: float
) -> NDArray[np.int64]:
    """Indices of ``(N, 5)`` boxes that stay where worse ones of their class are suppressed.

    By class, best scores first. Time grows with how many boxes lie close together, not with the
    square of all.
    """
    kept: list[NDArray[np.int64]] = [np.zeros(0, dtype=np.int64)]
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        mine = np.concatenate(
            [
                group[_best(boxes[group], scores[group], iou_threshold)]
                for group in _apart(boxes, members)
            ]
        )
        kept.append(mine[np.argsort(-scores[mine], kind="stable")])
    return np.concatenate(kept)


def _best(boxes: NDArray[Any], scores: NDArray[Any], iou_threshold: float) -> NDArray[np.int64]:
    if len(boxes) == 1:
        return np.zeros(1, dtype=np.int64)
    # Single precision does not resolve parts of a pixel far from the origin of a large scene.
    near = boxes - [*boxes[:, :2].mean(axis=0), 0, 0, 0]
    _, order = nms_rotated(
        torch.from_numpy(near).float(), torch.from_numpy(scores).float(), iou_threshold
    )
    return order.numpy()


def _apart(boxes: NDArray[Any], members: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Groups of boxes of which none can meet one of another: circles around them do not."""
    centres, radii = boxes[members, :2], np.hypot(*boxes[members, 2:4].T) / 2
    first, second = cKDTree(centres).query_pairs(2 * radii.max(), output_type="ndarray").T
    distances = np.linalg.norm(centres[first] - centres[second], axis=1)
    meet = distances <= radii[first] + radii[second]
    links = coo_array(
        (np.ones(meet.sum()), (first[meet], second[meet])), shape=(len(members), len(members))
    )
    _, groups = connected_components(links, directed=False)
    order = np.argsort(groups, kind="stable")
    return np.split(members[order], np.cumsum(np.bincount(groups))[:-1])


def _suppress(found: Detections, iou_threshold: float) -> Detections:
    index = remaining(found.boxes, found.scores, found.labels, iou_threshold=iou_threshold)
    return Detections(found.boxes[index], found.scores[index], found.labels[index])
