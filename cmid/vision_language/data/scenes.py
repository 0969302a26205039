"""Generated scenes with captions and described objects."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from cmid.boxes import Box
from cmid.data.scenes import Scene, SceneSource, generate_scene
from cmid.data.source import Draws, Image, MinSize
from cmid.data.templates import check_templates, fill_templates
from cmid.vision_language.data.source import ImageText, ImageTextSource, Region
from cmid.vision_language.prompts.templates import CATEGORY_TEMPLATES


class SceneTexts(ImageTextSource):
    """Generated scenes as image-text data; land-use classes are balanced.

    Regions are all objects in sight, with their category and what is true of them alone ("the
    largest ship"), and large areas of land cover, with a caption only.

    Args:
        num_images: number of scenes.
        size: height and width in pixels.
        seed: sources of different seeds share no scene (training and validation).
        templates: prompts of an object's category, with ``{}`` in them.
    """

    def __init__(
        self,
        num_images: int = 10000,
        *,
        size: int = 64,
        seed: int = 0,
        templates: Sequence[str] = CATEGORY_TEMPLATES,
    ) -> None:
        self._scenes = SceneSource(num_images, size=size, seed=seed)
        self.templates = check_templates(templates)

    def __len__(self) -> int:
        return len(self._scenes)

    @property
    def digest(self) -> str:
        about = len(self), self._scenes.size, self._scenes.seed
        return hashlib.sha256(repr(("scenes", *about)).encode()).hexdigest()

    def name(self, index: int) -> str:
        return f"scene/{self._scenes.seed}/{index}"

    def captions(self, index: int) -> tuple[str, ...]:
        """The captions of one scene; they take as long as the scene itself."""
        return self._generate(index).captions

    def decode(self, index: int, min_size: MinSize, generator: Draws) -> ImageText:
        """Generate one scene; ``min_size`` and ``generator`` have no effect."""
        scene = self._generate(index)
        size = self._scenes.size
        image = Image(scene.image, (size, size), scene.label, self.name(index))
        return ImageText(image, scene.captions, scene_regions(scene, self.templates))

    def _generate(self, index: int) -> Scene:
        if not 0 <= index < len(self):
            raise IndexError(f"scene {index} of {len(self)}")
        return generate_scene(index, seed=self._scenes.seed, size=self._scenes.size)


def scene_regions(scene: Scene, templates: Sequence[str]) -> tuple[Region, ...]:
    """Objects with their category and phrases, then areas of land cover."""
    phrases: dict[Box, list[str]] = defaultdict(list)
    for phrase, box in scene.region_phrases:
        phrases[box].append(phrase)
    regions = []
    for instance in scene.instances:
        own = tuple(phrases.pop(instance.box, ()))
        texts = fill_templates(templates, instance.category) + own
        regions.append(Region(instance.box, texts, instance.category, own))
    covers = (Region(box, tuple(own), None, tuple(own)) for box, own in phrases.items())
    return (*regions, *covers)
