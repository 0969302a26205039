"""Semantic segmentation on mmsegmentation; importing it registers it.

    custom_imports = dict(imports=["benchmarks.openmmlab", "benchmarks.segmentation"])

The preparation of data and the generated scenes of this room need nothing of OpenMMLab.
"""

from importlib.util import find_spec

if find_spec("mmseg") is not None:
    import benchmarks.openmmlab.annotations
    import benchmarks.openmmlab.loading
    import benchmarks.openmmlab.photometric
    import benchmarks.openmmlab.preprocessing
    import benchmarks.segmentation.datasets
    import benchmarks.segmentation.painting  # noqa: F401
