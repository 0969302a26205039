"""Generated aerial scenes: the embedded default data, and the test bed of every benchmark.

A scene is a function of ``(seed, index)``: it is sketched in scene units (`scene_land`,
`scene_built`, `scene_objects`), drawn into a map of materials (`scene_drawing`), coloured
(`scene_textures`) and annotated (`scene_annotations`). Only the image is made at once; masks,
instances and captions come when asked for, so that pretraining does not pay for them.

Example:
    >>> scene = generate_scene(0, size=64, second_date=True)
    >>> scene.image.shape, scene.semantic_mask.shape
    (torch.Size([3, 64, 64]), (64, 64))
"""

from __future__ import annotations

import math
import mmap
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw
from torch import Tensor

from cmid.data import scene_built, scene_land
from cmid.data.scene_annotations import (
    INSTANCE_CATEGORIES,
    SEMANTIC_CLASSES,
    SEMANTIC_OF_MATERIAL,
    Instance,
    RegionPhrase,
    describe,
    find_instances,
    phrase_regions,
)
from cmid.data.scene_drawing import (
    FIRST,
    SECOND,
    SUPERSAMPLING,
    MaterialMap,
    Shape,
    View,
    draw,
)
from cmid.data.scene_objects import Sketch
from cmid.data.scene_textures import Look, colour
from cmid.data.source import Image, ImageSource
from cmid.files import whole_file

__all__ = [
    "INSTANCE_CATEGORIES",
    "SCENE_CLASSES",
    "SEMANTIC_CLASSES",
    "Instance",
    "RegionPhrase",
    "Scene",
    "SceneSource",
    "contact_sheet",
    "generate_scene",
]

LAYOUTS: dict[str, Callable[[Sketch], None]] = {
    "farmland": scene_land.farmland,
    "forest": scene_land.forest,
    "inland water": scene_land.inland_water,
    "junction": scene_built.junction,
    "residential": scene_built.residential,
    "harbour": scene_built.harbour,
    "airport": scene_built.airport,
    "storage tanks": scene_built.storage_tanks,
    "beach": scene_land.beach,
    "bare soil": scene_land.bare_soil,
}
SCENE_CLASSES: tuple[str, ...] = tuple(LAYOUTS)
SMALLEST_SIZE = 16


@dataclass(frozen=True, eq=False)
class Scene:
    """One generated scene; annotations are computed on first use.

    Attributes:
        image: ``(C, H, W)`` uint8 tensor: red, green, blue, then near and short-wave infrared.
        label: index into `SCENE_CLASSES`.
        image_second: the same place at another date, or None.
        view, shapes: the camera and the shapes of both dates, in drawing order.
        drawn: the materials of the first date; ``drawn_second`` of the second, or None.
    """

    image: Tensor
    label: int
    image_second: Tensor | None
    view: View
    shapes: tuple[Shape, ...]
    drawn: MaterialMap
    drawn_second: MaterialMap | None

    @property
    def class_name(self) -> str:
        """Name of the land-use class."""
        return SCENE_CLASSES[self.label]

    @cached_property
    def material_mask(self) -> NDArray[np.uint8]:
        """``(H, W)`` uint8 numpy array of `Material`, at the first date."""
        return _at_pixels(self.drawn)

    @cached_property
    def semantic_mask(self) -> NDArray[np.uint8]:
        """``(H, W)`` uint8 numpy array of indices into `SEMANTIC_CLASSES`, at the first date."""
        return SEMANTIC_OF_MATERIAL[self.material_mask]

    @cached_property
    def semantic_mask_second(self) -> NDArray[np.uint8] | None:
        """The semantic mask of the second date, or None."""
        if self.drawn_second is None:
            return None
        return SEMANTIC_OF_MATERIAL[_at_pixels(self.drawn_second)]

    @cached_property
    def change_mask(self) -> NDArray[np.bool_] | None:
        """``(H, W)`` bool numpy array: where the material changed; season and light do not count.
        None without a second date."""
        if self.drawn_second is None:
            return None
        return self.material_mask != _at_pixels(self.drawn_second)

    @cached_property
    def instances(self) -> tuple[Instance, ...]:
        """Objects in sight at the first date, clipped to the image."""
        return find_instances(self.shapes, self.view, date=FIRST)

    @cached_property
    def captions(self) -> tuple[str, ...]:
        """Sentences that are true of the first date: land use, counts of objects, cover."""
        return describe(self.class_name, self.instances, self.semantic_mask)

    @cached_property
    def region_phrases(self) -> tuple[RegionPhrase, ...]:
        """Pairs ``(phrase, (x0, y0, x1, y1))``; each phrase fits one region of the scene only."""
        return phrase_regions(self.instances, self.semantic_mask)


def _at_pixels(drawn: MaterialMap) -> NDArray[np.uint8]:
    return np.ascontiguousarray(drawn.material[1::SUPERSAMPLING, 1::SUPERSAMPLING])


def scene_label(index: int, *, seed: int = 0) -> int:
    """Class of a scene: every ten indices in a row hold every class once, in random order."""
    block, place = divmod(index, len(SCENE_CLASSES))
    order = list(range(len(SCENE_CLASSES)))
    random.Random(f"cmid scene order {seed} {block}").shuffle(order)
    return order[place]


def generate_scene(
    index: int, *, seed: int = 0, size: int = 64, num_bands: int = 3, second_date: bool = False
) -> Scene:
    """Generate one scene, the same for the same arguments in every process.

    Args:
        index: number of the scene, 0 or more; its class follows from ``(seed, index)``.
        seed: a different seed gives a different, disjoint set of scenes.
        size: height and width in pixels. The same scene at another size shows the same place with
            more or less detail.
        num_bands: 3 for red, green, blue; the fourth is near infrared, further ones short-wave
            infrared. The first bands do not depend on how many there are.
        second_date: also make `Scene.image_second`; the first image does not depend on it.
    """
    if index < 0 or size < SMALLEST_SIZE or num_bands < 3:
        raise ValueError(
            f"a scene needs index >= 0, size >= {SMALLEST_SIZE} and num_bands >= 3, "
            f"not index={index}, size={size}, num_bands={num_bands}"
        )
    label = scene_label(index, seed=seed)
    rng = random.Random(f"cmid scene {seed} {index}")
    shift = (rng.uniform(-0.06, 0.06), rng.uniform(-0.06, 0.06))
    view = View(size, rng.uniform(0, 6.2832), rng.uniform(0.85, 1.25), shift)
    look = Look.sample(rng)
    later = look.later(rng)
    texture, *noises = (rng.getrandbits(60) for _ in range(3))
    sketch = Sketch(rng, view)
    LAYOUTS[SCENE_CLASSES[label]](sketch)

    drawn, images = [], []
    dates = ((FIRST, look, noises[0]), (SECOND, later, noises[1]))
    for date, acquired, noise in dates[: 2 if second_date else 1]:
        drawn.append(draw(sketch.shapes, view, date=date, sun=acquired.sun))
        pixels = colour(
            drawn[-1],
            acquired,
            angle=view.angle,
            num_bands=num_bands,
            texture=texture,
            noise=noise,
        )
        images.append(torch.from_numpy(pixels))
    return Scene(
        image=images[0],
        label=label,
        image_second=images[1] if second_date else None,
        view=view,
        shapes=tuple(sketch.shapes),
        drawn=drawn[0],
        drawn_second=drawn[1] if second_date else None,
    )


class SceneSource(ImageSource):
    """Generated scenes as a labelled image source.

    Args:
        num_images: number of scenes; classes are balanced.
        size: height and width in pixels.
        num_bands: 3, or more with infrared.
        seed: sources of different seeds share no scene (training and validation).
        keep: hold scenes in memory once they are generated, ``num_images * num_bands * size**2``
            bytes in all: generating a scene costs more than a small network's training step on it.
            Reading processes share the memory where the system forks them.
    """

    def __init__(
        self,
        num_images: int = 10000,
        *,
        size: int = 64,
        num_bands: int = 3,
        seed: int = 0,
        keep: bool = False,
    ) -> None:
        if num_images < 1 or size < SMALLEST_SIZE or num_bands < 3:
            raise ValueError(
                f"scenes need num_images >= 1, size >= {SMALLEST_SIZE} and num_bands >= 3, "
                f"not num_images={num_images}, size={size}, num_bands={num_bands}"
            )
        self.num_images = num_images
        self.size = size
        self.num_bands = num_bands
        self.seed = seed
        self.keep = keep
        self.classes = SCENE_CLASSES
        self._kept = _SharedImages(num_images, (num_bands, size, size)) if keep else None

    def __len__(self) -> int:
        return self.num_images

    def read(
        self,
        index: int,
        *,
        min_size: tuple[float, float] | None = None,
        generator: np.random.Generator | None = None,
    ) -> Image:
        """Generate scene ``index``; ``min_size`` and ``generator`` have no effect."""
        if not 0 <= index < self.num_images:
            raise IndexError(f"scene {index} of {self.num_images}")
        pixels = None if self._kept is None else self._kept.get(index)
        if pixels is None:
            pixels = generate_scene(
                index, seed=self.seed, size=self.size, num_bands=self.num_bands
            ).image
            if self._kept is not None:
                self._kept.put(index, pixels)
        label = scene_label(index, seed=self.seed)
        return Image(pixels, (self.size, self.size), label, f"scene/{self.seed}/{index}")

    def __getstate__(self) -> dict[str, Any]:
        """A copy for a spawned process starts with nothing kept."""
        return self.__dict__ | {"_kept": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        if self.keep:
            self._kept = _SharedImages(self.num_images, (self.num_bands, self.size, self.size))


class _SharedImages:
    """uint8 images of one shape in anonymous memory, which forked processes share.

    Unlike files of ``/dev/shm`` it knows no limit of its own, which containers set low.
    """

    def __init__(self, count: int, shape: tuple[int, ...]) -> None:
        def shared(*sizes: int) -> Tensor:
            memory = mmap.mmap(-1, math.prod(sizes))
            return torch.frombuffer(memory, dtype=torch.uint8).view(sizes)

        self.pixels = shared(count, *shape)
        self.present = shared(count)

    def get(self, index: int) -> Tensor | None:
        return self.pixels[index].clone() if self.present[index] else None

    def put(self, index: int, pixels: Tensor) -> None:
        # Marked last: whoever sees the mark finds the pixels.
        self.pixels[index] = pixels
        self.present[index] = 1


def contact_sheet(
    path: str | Path, *, size: int = 64, scale: int = 3, columns: int = 8, seed: int = 0
) -> None:
    """Write a PNG with ``columns`` scenes of every class, one class a row."""
    cell, margin = size * scale, 100
    sheet = PillowImage.new("RGB", (margin + cell * columns, cell * len(SCENE_CLASSES)), "white")
    pen = ImageDraw.Draw(sheet)
    for row, name in enumerate(SCENE_CLASSES):
        pen.text((4, row * cell + cell // 2), name, fill="black")
    for index in range(columns * len(SCENE_CLASSES)):
        scene = generate_scene(index, seed=seed, size=size)
        picture = PillowImage.fromarray(scene.image.permute(1, 2, 0).numpy())
        picture = picture.resize((cell - 2, cell - 2), PillowImage.Resampling.BICUBIC)
        column = index // len(SCENE_CLASSES)
        sheet.paste(picture, (margin + column * cell, scene.label * cell))
    with whole_file(path) as partial:
        sheet.save(partial, format="PNG")
