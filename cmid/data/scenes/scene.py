"""One generated scene: its image at once, its annotations when they are asked for."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmid.data.scenes import built, land
from cmid.data.scenes.annotations import (
    SEMANTIC_OF_MATERIAL,
    Instance,
    RegionPhrase,
    describe,
    find_instances,
    phrase_regions,
)
from cmid.data.scenes.drawing import (
    FIRST,
    SECOND,
    SUPERSAMPLING,
    MaterialMap,
    Shape,
    View,
    draw,
)
from cmid.data.scenes.objects import Sketch
from cmid.data.scenes.textures import Look, colour

LAYOUTS: dict[str, Callable[[Sketch], None]] = {
    "farmland": land.farmland,
    "forest": land.forest,
    "inland water": land.inland_water,
    "junction": built.junction,
    "residential": built.residential,
    "harbour": built.harbour,
    "airport": built.airport,
    "storage tanks": built.storage_tanks,
    "beach": land.beach,
    "bare soil": land.bare_soil,
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
    index: int,
    *,
    seed: int = 0,
    size: int = 64,
    num_bands: int = 3,
    second_date: bool = False,
    looks: tuple[Look, Look] | None = None,
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
        looks: how both dates are acquired, in place of a look of the scene's own.
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
    look, later = looks or (look, later)
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
