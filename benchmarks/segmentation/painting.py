"""Predictions painted: image, truth and prediction side by side, with a legend."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from benchmarks.openmmlab.pictures import PictureHook, read_picture
from cmid.data.writing import write_image
from cmid.visualization.panels import label_panels


@HOOKS.register_module()
class PaintPredictions(PictureHook):
    """Write a picture of each tested image.

    Args:
        bands: the three bands of a raster to show, counted from 1.
        arguments: see `PictureHook`.
    """

    def __init__(self, *, bands: Sequence[int] = (1, 2, 3), **arguments: Any) -> None:
        super().__init__(**arguments)
        self.bands = tuple(bands)

    def write(self, path: Path, runner: Runner, *, inputs: Any, sample: Any) -> None:
        meta, truth = runner.visualizer.dataset_meta, sample.get("gt_sem_seg")
        painted = label_panels(
            read_picture(sample.img_path, bands=self.bands),
            None if truth is None else truth.data.squeeze(0).cpu().numpy(),
            sample.pred_sem_seg.data.squeeze(0).cpu().numpy(),
            classes=meta["classes"],
            palette=meta["palette"],
        )
        write_image(path, np.asarray(painted))
