"""What OpenMMLab needs to know of cmid; importing it registers it.

    custom_imports = dict(imports=["benchmarks.openmmlab"])

in a configuration makes ``CMIDBackbone``, ``LabelledImages``, ``FewLabels``,
``LayerDecayConstructor`` and timm's ``Adan`` known to mmpretrain, mmsegmentation, mmdetection and
mmrotate: they lie in mmengine's root registries, where all look. ``init_cfg`` then reads
``.safetensors``, too.

Raises:
    ModuleNotFoundError: the packages of the extra ``openmmlab`` are missing.
"""

try:
    import mmengine  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "OpenMMLab is missing: install the extra cmid[openmmlab] with make openmmlab (mmcv is"
        " compiled, which takes a while)"
    ) from error

from benchmarks.openmmlab.backbone import CMIDBackbone
from benchmarks.openmmlab.csv_log import CSVVisBackend
from benchmarks.openmmlab.datasets import LabelledImages
from benchmarks.openmmlab.few_labels import FewLabels
from benchmarks.openmmlab.optimizer import LayerDecayConstructor
from benchmarks.openmmlab.preflight import check_pretrained

__all__ = [
    "CMIDBackbone",
    "CSVVisBackend",
    "FewLabels",
    "LabelledImages",
    "LayerDecayConstructor",
    "check_pretrained",
]
