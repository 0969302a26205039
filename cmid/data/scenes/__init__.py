"""Generated aerial scenes: the embedded default data, and the test bed of every benchmark.

A scene is a function of ``(seed, index)``: it is sketched in scene units (`land`, `built`,
`objects`), drawn into a map of materials (`drawing`), coloured (`textures`) and annotated
(`annotations`). Only the image is made at once; masks, instances and captions come when asked for,
so that pretraining does not pay for them.

Example:
    >>> scene = generate_scene(0, size=64, second_date=True)
    >>> scene.image.shape, scene.semantic_mask.shape
    (torch.Size([3, 64, 64]), (64, 64))
"""

from cmid.data.scenes.annotations import (
    INSTANCE_CATEGORIES,
    SEMANTIC_CLASSES,
    Instance,
    RegionPhrase,
)
from cmid.data.scenes.scene import SCENE_CLASSES, Scene, generate_scene
from cmid.data.scenes.sheet import contact_sheet
from cmid.data.scenes.source import SceneSource

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
