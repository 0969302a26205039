"""COCO-form data of mmdetection, checked before training begins."""

from __future__ import annotations

import colorsys
import logging
from pathlib import Path
from typing import Any

from mmdet.datasets import CocoDataset
from mmengine.logging import print_log
from mmengine.registry import DATASETS

from benchmarks.detection.coco import check_coco

# Hues a golden ratio apart: any number of first colours is bright and distinct.
PALETTE = [
    tuple(round(255 * v) for v in colorsys.hsv_to_rgb((0.12 + k * 0.618034) % 1, 0.85, 1.0))
    for k in range(100)
]


@DATASETS.register_module()
class CheckedCocoDataset(CocoDataset):
    """mmdetection's ``CocoDataset`` that tells what is wrong with its files.

    What is left out (boxes below one pixel, categories that are not asked for) is counted in the
    log. Images without objects are kept unless ``filter_cfg`` says otherwise.

    Args:
        polygons: whether every object needs a polygon, as for oriented boxes.
        kwargs: arguments of ``CocoDataset``; ``metainfo`` has to name the classes.

    Raises:
        FileNotFoundError, ValueError: as `benchmarks.detection.coco.check_coco`.
        ValueError: it is for training, and holds no object of the classes.
    """

    METAINFO: dict[str, Any] = {"classes": (), "palette": PALETTE}  # noqa: RUF012

    def __init__(self, *args: Any, polygons: bool = False, **kwargs: Any) -> None:
        self.polygons = polygons
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Check, then read."""
        counts = check_coco(
            Path(self.ann_file),
            Path(self.data_prefix["img"]),
            classes=self.metainfo["classes"],
            polygons=self.polygons,
            evaluated=self.test_mode and not self.polygons,
        )
        if not counts.objects and not self.test_mode:
            raise ValueError(f"nothing to train on: {self.ann_file}: {counts}")
        level = logging.INFO if counts.objects else logging.WARNING
        print_log(f"{self.ann_file}: {counts}", logger="current", level=level)
        return super().load_data_list()
