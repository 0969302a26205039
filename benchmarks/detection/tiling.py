"""Large images in DOTA's form, cut into overlapping square tiles with their objects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from tqdm import tqdm

from benchmarks.detection.scene_crops import SceneCrops, open_scene
from cmid.boxes import box_corners, clip_to_image, oriented_box, polygon_area
from cmid.data.dota import OrientedObjects, read_objects, write_objects
from cmid.data.folder import IMAGE_EXTENSIONS, find_files
from cmid.data.windows import fill_up, tile
from cmid.files import new_folder

PADDING = (124, 116, 104)  # ImageNet's mean colour: about zero once standardised
CUT = 2  # difficulty of an object that the border of a tile cuts, as DOTA's own tools write it
_WHOLE = 1 - 1e-6


@dataclass(frozen=True)
class TilingConfig:
    """How images are cut.

    Attributes:
        size, gap: side of a tile and its overlap with the next one, in pixels of scale 1.
        scales: tiles of side ``size / scale`` and overlap ``gap / scale`` for each; a training
            pipeline resizes all to ``size``.
        min_inside: share of an object that a tile has to hold to keep it. What is kept but cut has
            difficulty 2.

    Raises:
        ValueError: values that make no sense.
    """

    size: int = 1024
    gap: int = 200
    scales: tuple[float, ...] = (1.0,)
    min_inside: float = 0.7

    def __post_init__(self) -> None:
        if not 0 <= self.gap < self.size:
            raise ValueError(f"gap must be at least 0 and below size {self.size}: {self.gap}")
        if not self.scales or min(self.scales) <= 0:
            raise ValueError(f"scales must be positive: {self.scales}")
        if not 0 < self.min_inside <= 1:
            raise ValueError(f"min_inside must be above 0 and at most 1: {self.min_inside}")

    def windows(self, width: int, height: int) -> list[tuple[int, int, int]]:
        """Left, top and side of each tile; the last ones of a row and a column end at the border.

        An image smaller than a tile has tiles that reach over its border.
        """
        found = []
        for scale in self.scales:
            side = round(self.size / scale)
            step = side - round(self.gap / scale)
            windows = tile(height, width, size=side, stride=step)
            found += [(window.left, window.top, side) for window in windows]
        return found


@dataclass
class TilingCounts:
    """What was read and written.

    Attributes:
        images, tiles, empty_tiles: numbers of files.
        objects, written: objects by category, in the images and in the tiles, where most of them
            occur several times.
        cut: written objects with difficulty 2.
        lost: objects that no tile holds to the wanted share.
        outside: lost objects that lie beside their image.
        unused: text files of labels without an image.
    """

    images: int = 0
    tiles: int = 0
    empty_tiles: int = 0
    objects: Counter[str] = field(default_factory=Counter)
    written: Counter[str] = field(default_factory=Counter)
    cut: int = 0
    lost: int = 0
    outside: int = 0
    unused: int = 0

    def add(self, part: TilingCounts) -> None:
        """Add the counts of some images."""
        for name, counted in vars(part).items():
            setattr(self, name, getattr(self, name) + counted)

    def __str__(self) -> str:
        lines = [
            f"{self.images} images, {self.tiles} tiles ({self.empty_tiles} without objects)",
            f"{self.objects.total()} objects, {self.written.total()} in tiles; {self.cut} of these"
            f" cut by a border (difficulty {CUT}); {self.lost} objects in no tile",
        ]
        if self.outside:
            lines.append(
                f"{self.outside} of these lie beside their image: are these the annotated images?"
            )
        if self.unused:
            lines.append(f"{self.unused} text files belong to no image: are all images there?")
        width = max(map(len, self.objects), default=0)
        lines += [
            f"  {name:{width}} {number:8} {self.written[name]:8}"
            for name, number in sorted(self.objects.items())
        ]
        return "\n".join(lines)


def split_folder(
    images: Path,
    labels: Path | None,
    out: Path,
    *,
    tiling: TilingConfig,
    classes: Sequence[str] | None = None,
    workers: int = 4,
) -> TilingCounts:
    """Cut all images of a folder into ``out/images`` and, with labels, ``out/labelTxt``.

    Tiles are PNG named ``IMAGE__SIDE__LEFT___TOP``, which mmrotate's and our merging understand.

    Args:
        images: 8-bit images.
        labels: a text file for each image, as `read_objects` reads; None for a test set.
        out: new folder; it appears whole or not at all.
        tiling: how images are cut.
        classes: the allowed categories; None for any.
        workers: threads.

    Raises:
        FileExistsError: ``out`` is not empty.
        FileNotFoundError: no images, or one without labels.
        ValueError: wrong labels, two images of one name, or a class without a box.
        UnreadableImageError: an image that cannot be decoded.
    """
    if not images.is_dir():
        raise FileNotFoundError(f"no folder {images}")
    paths = [images / name for name in find_files(images, IMAGE_EXTENSIONS)]
    if not paths:
        raise FileNotFoundError(f"no images in {images}")
    twice = [stem for stem, number in Counter(path.stem for path in paths).items() if number > 1]
    if twice:
        raise ValueError(f"{images} has several images named {twice[0]}")
    annotations: Mapping[Path, OrientedObjects] = {}
    if labels is not None:
        annotations = {
            path: read_objects(labels / f"{path.stem}.txt", classes=classes) for path in paths
        }
    counts = TilingCounts()
    if labels is not None:
        counts.unused = len({path.stem for path in labels.glob("*.txt")} - {p.stem for p in paths})
    with new_folder(out) as folder, ThreadPoolExecutor(workers) as pool:
        for name in ("images", "labelTxt")[: 1 + (labels is not None)]:
            (folder / name).mkdir()
        jobs = pool.map(lambda path: _split(path, annotations.get(path), folder, tiling), paths)
        try:
            for part in tqdm(jobs, total=len(paths), desc="tiles", unit="image"):
                counts.add(part)
        except BaseException:
            pool.shutdown(cancel_futures=True)  # else all other images are cut first
            raise
    return counts


def objects_inside(
    objects: OrientedObjects, window: tuple[int, int, int], *, min_inside: float
) -> tuple[OrientedObjects, NDArray[np.int64]]:
    """Objects of which a window holds enough, in its coordinates, and their indices.

    The share is measured on the smallest box around the corners; boxes keep their full extent.
    """
    left, top, side = window
    corners = objects.corners - (left, top)
    lowest, highest = corners.min(axis=1), corners.max(axis=1)
    kept, difficulties = [], []
    for k in np.flatnonzero(((highest > 0) & (lowest < side)).all(axis=1)).tolist():
        share = 1.0
        if lowest[k].min() < 0 or highest[k].max() > side:
            box = box_corners(oriented_box(corners[k]))
            share = polygon_area(clip_to_image(box, side)) / polygon_area(box)
        if share >= min_inside:
            kept.append(k)
            difficulties.append(int(objects.difficulties[k]) if share > _WHOLE else CUT)
    inside = OrientedObjects(
        corners[kept].reshape(-1, 4, 2),
        tuple(objects.categories[k] for k in kept),
        np.array(difficulties, dtype=np.int64),
    )
    return inside, np.array(kept, dtype=np.int64)


def _split(
    path: Path, objects: OrientedObjects | None, folder: Path, tiling: TilingConfig
) -> TilingCounts:
    scene = open_scene(path)
    counts = TilingCounts(images=1)
    held: set[int] = set()
    for window, pixels in _tiles(scene, tiling.windows(scene.width, scene.height)):
        left, top, side = window
        name = f"{path.stem}__{side}__{left}___{top}"
        PillowImage.fromarray(pixels).save(folder / "images" / f"{name}.png")
        counts.tiles += 1
        if objects is not None:
            inside, indices = objects_inside(objects, window, min_inside=tiling.min_inside)
            write_objects(folder / "labelTxt" / f"{name}.txt", inside)
            counts.empty_tiles += not len(inside)
            counts.written.update(inside.categories)
            counts.cut += int((inside.difficulties == CUT).sum())
            held.update(indices.tolist())
    if objects is not None:
        counts.objects.update(objects.categories)
        counts.lost = len(objects) - len(held)
        counts.outside = int(objects.beside(scene.height, scene.width).sum())
    return counts


def _tiles(
    scene: SceneCrops, windows: Sequence[tuple[int, int, int]]
) -> Iterator[tuple[tuple[int, int, int], NDArray[Any]]]:
    for left, top, side in windows:
        right, bottom = min(left + side, scene.width), min(top + side, scene.height)
        crop = scene.crop(left, top, right, bottom)
        yield (left, top, side), fill_up(crop, (side, side), PADDING)
