"""Change detection on mmsegmentation; importing it registers it.

    custom_imports = dict(imports=["benchmarks.openmmlab", "benchmarks.change_detection"])

A pair of co-registered images travels through a pipeline as one image with the bands of both dates
behind each other, ``(H, W, 2C)``: what crops, flips or resizes an image does the same to both.

The generated scenes of this room need nothing of OpenMMLab.
"""

from importlib.util import find_spec

if find_spec("mmseg") is not None:
    import benchmarks.change_detection.bit
    import benchmarks.change_detection.datasets
    import benchmarks.change_detection.loading
    import benchmarks.change_detection.losses
    import benchmarks.change_detection.metrics
    import benchmarks.change_detection.painting
    import benchmarks.change_detection.siamese
    import benchmarks.change_detection.transforms
    import benchmarks.openmmlab.loading
    import benchmarks.openmmlab.photometric
    import benchmarks.openmmlab.preprocessing  # noqa: F401
