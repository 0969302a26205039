"""Truth and predictions drawn side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mmcv
from mmdet.engine.hooks import DetVisualizationHook
from mmdet.structures import DetDataSample
from mmengine.registry import HOOKS
from mmengine.runner import Runner

_SMALLEST_SIDE = 1000  # pixels; smaller images are enlarged, so that labels leave objects in sight


@HOOKS.register_module()
class DrawBoxes(DetVisualizationHook):
    """Write a picture of each tested image: truth on the left, predictions on the right.

    mmdetection's hook, with all pictures PNG in one folder, and small images enlarged. The boxes
    are drawn by the configuration's visualizer, which may be one for oriented boxes.

    Args:
        draw: whether to do anything.
        test_out_dir: folder of the pictures; relative ones lie in the work dir.
        kwargs: as of ``DetVisualizationHook``; ``score_thr`` is the lowest score that is drawn.
    """

    def __init__(self, draw: bool = False, test_out_dir: str = "pictures", **kwargs: Any) -> None:
        super().__init__(draw=draw, test_out_dir=test_out_dir, **kwargs)
        self.names: set[str] = set()

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any, outputs: Sequence[DetDataSample]
    ) -> None:
        """Draw a batch."""
        if not self.draw:
            return
        for sample in outputs:
            image = mmcv.imread(sample.img_path, channel_order="rgb")
            factor = math.ceil(_SMALLEST_SIDE / max(image.shape[:2]))
            if factor > 1:
                size = image.shape[1] * factor, image.shape[0] * factor
                image = mmcv.imresize(image, size, interpolation="bicubic")
                sample = enlarged(sample, factor)
            name = self._name(Path(sample.img_path))
            self._visualizer.add_datasample(
                name,
                image,
                data_sample=sample,
                pred_score_thr=self.score_thr,
                out_file=str(Path(runner.work_dir, self.test_out_dir, f"{name}.png")),
            )

    def _name(self, path: Path) -> str:
        """The image's, with its folders where another one has that, too."""
        name = path.stem
        for part in reversed(path.parts[:-1]):
            if name not in self.names:
                break
            name = f"{part}_{name}"
        self.names.add(name)
        return name


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
