"""Truth and predictions drawn side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mmcv
from mmdet.structures import DetDataSample
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from benchmarks.openmmlab.pictures import PictureHook, read_picture

_SMALLEST_SIDE = 1000  # pixels; smaller images are enlarged, so that labels leave objects in sight


@HOOKS.register_module()
class DrawBoxes(PictureHook):
    """Write a picture of each tested image: truth on the left, predictions on the right.

    Small images are enlarged. The boxes are drawn by the configuration's visualizer, which may be
    one for oriented boxes.

    Args:
        score_thr: the lowest score that is drawn.
        bands: the three bands of a raster to show, counted from 1.
        arguments: see `PictureHook`.
    """

    def __init__(
        self, *, score_thr: float = 0.3, bands: Sequence[int] = (1, 2, 3), **arguments: Any
    ) -> None:
        super().__init__(**arguments)
        self.score_thr = score_thr
        self.bands = tuple(bands)

    def write(self, path: Path, runner: Runner, *, inputs: Any, sample: Any) -> None:
        image = read_picture(sample.img_path, bands=self.bands)
        factor = math.ceil(_SMALLEST_SIDE / max(image.shape[:2]))
        if factor > 1:
            size = image.shape[1] * factor, image.shape[0] * factor
            image = mmcv.imresize(image, size, interpolation="bicubic")
            sample = enlarged(sample, factor)
        runner.visualizer.add_datasample(
            path.stem,
            image,
            data_sample=sample,
            pred_score_thr=self.score_thr,
            out_file=str(path),
        )


def enlarged(sample: DetDataSample, factor: int) -> DetDataSample:
    """A copy with its boxes scaled; horizontal and rotated ones have four lengths each."""
    copy = sample.clone()
    for key in ("gt_instances", "pred_instances"):
        if key in copy and "bboxes" in copy.get(key):
            instances = copy.get(key)
            boxes = instances.bboxes.clone()
            boxes[:, :4] *= factor
            instances.bboxes = boxes
    return copy
