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

from cmid.data.scenes.annotations import INSTANCE_CATEGORIES as INSTANCE_CATEGORIES
from cmid.data.scenes.annotations import PLAIN_AREA as PLAIN_AREA
from cmid.data.scenes.annotations import SEMANTIC_CLASSES as SEMANTIC_CLASSES
from cmid.data.scenes.annotations import Instance as Instance
from cmid.data.scenes.annotations import RegionPhrase as RegionPhrase
from cmid.data.scenes.scene import SCENE_CLASSES as SCENE_CLASSES
from cmid.data.scenes.scene import Scene as Scene
from cmid.data.scenes.scene import generate_scene as generate_scene
from cmid.data.scenes.sheet import contact_sheet as contact_sheet
from cmid.data.scenes.source import SceneSource as SceneSource
