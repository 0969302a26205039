"""A trained detector of OpenMMLab, horizontal or oriented, as a model of maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.models.detectors import BaseDetector
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.detection.merging import remaining
from benchmarks.openmmlab.trained import STRIDE, load_trained
from cmid.inference.boxes import Boxes

# More than a tile holds; heads disagree on what -1 means.
_ALL = 1_000_000


class DetectionModel:
    """Objects in tiles, see `cmid.inference.boxes.BoxModel`.

    Args:
        config: as trained, of mmdetection or mmrotate.
        checkpoint: its ``.pth``.
        device: where it runs.
        score_threshold: the least score of an object, in [0, 1]. The configuration's, and its limit
            of objects in an image, do not apply: both are chosen for its metric.

    Attributes:
        classes: as the checkpoint remembers them.
        iou_threshold: where two boxes of a class overlap more, the better one remains; as the
            configuration has it for one image.

    Raises:
        FileNotFoundError: no checkpoint.
        ValueError: a model of another task, or a checkpoint that does not name its classes.
    """

    stride = STRIDE

    def __init__(
        self, config: Config, checkpoint: Path, device: str, *, score_threshold: float
    ) -> None:
        last = _last_step(config.model.get("test_cfg") or {})
        if last is None:
            raise ValueError(f"{config.filename} has no score_thr in model.test_cfg: no detection")
        last.score_thr, last.max_per_img = score_threshold, _ALL
        self.iou_threshold = float(last.nms.iou_threshold)
        self.trained = load_trained(config, checkpoint, device)
        self.model, self.fill = self.trained.model, self.trained.fill
        self.classes = self.trained.classes
        if not isinstance(self.model, BaseDetector):
            raise ValueError(f"{config.filename} trains a {type(self.model).__name__}: no detector")

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> list[Boxes]:
        shape = tuple(pixels.shape[-2:])
        meta = {
            "ori_shape": shape,
            "img_shape": shape,
            "pad_shape": shape,
            "batch_input_shape": shape,
        }
        samples = [
            DetDataSample(metainfo={**meta, "scale_factor": (1.0, 1.0), "img_id": number})
            for number in range(len(pixels))
        ]
        found = self.model.predict(self.trained.standardize(pixels), samples)
        return [_boxes(sample.pred_instances) for sample in found]

    def merge(self, found: Boxes) -> NDArray[np.int64]:
        """Rotated suppression, class by class."""
        return remaining(found.boxes, found.scores, found.labels, iou_threshold=self.iou_threshold)


def _last_step(part: ConfigDict) -> Any:
    """The settings of the last step of a detector, which has the threshold of scores."""
    return part if "score_thr" in part else part.get("rcnn")


def _boxes(instances: Any) -> Boxes:
    """Of mmdetection's ``(N, 4)`` corners, or mmrotate's ``(N, 5)`` oriented boxes."""
    boxes = getattr(instances.bboxes, "tensor", instances.bboxes).double().cpu()
    if boxes.shape[-1] == 4:
        low, high = boxes.split(2, dim=-1)
        boxes = torch.cat([(low + high) / 2, high - low, boxes[:, :1] * 0], dim=-1)
    return Boxes(
        boxes.numpy(),
        instances.scores.double().cpu().numpy(),
        instances.labels.cpu().numpy().astype(np.int64),
    )
