"""Horizontal and oriented detection on mmdetection and mmrotate; importing it registers it.

    custom_imports = dict(imports=["benchmarks.openmmlab", "benchmarks.detection"])

Preparation of data and generated scenes (`dior`, `dota`, `tiling`, `scenes`) need nothing of
OpenMMLab.
"""

from importlib.util import find_spec

if find_spec("mmdet") is not None:
    import benchmarks.detection.datasets
    import benchmarks.detection.drawing
    import benchmarks.detection.preprocessing
    import benchmarks.openmmlab.loading

if find_spec("mmrotate") is not None:
    import benchmarks.detection.oriented_datasets
    import benchmarks.detection.oriented_drawing
    import benchmarks.detection.oriented_metric  # noqa: F401
