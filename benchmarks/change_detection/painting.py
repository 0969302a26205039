"""Tested pairs painted: both dates, truth, and prediction with its errors in colour."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from numpy.typing import NDArray
from PIL import Image as PillowImage

from benchmarks.openmmlab.pictures import PictureHook, displayed
from cmid.data.writing import write_image
from cmid.visualization.panels import panels

# Numbered 2 * truth + prediction. Red and blue are told apart with any colour vision.
COLOURS: dict[str, tuple[int, int, int]] = {
    "true negative": (0, 0, 0),
    "false positive": (230, 60, 40),
    "false negative": (60, 140, 255),
    "true positive": (255, 255, 255),
    "not labelled": (110, 110, 110),
}


@HOOKS.register_module()
class PaintChanges(PictureHook):
    """Write a picture of each tested pair, named as its first date.

    Args:
        bands: the three of a date that are shown as red, green and blue, counted from 1. The
            default fits images that OpenCV reads, and blue-green-red-... of multispectral ones.
        stretch: show the 2nd to 98th percentile of each band and date; types other than 8 bits
            always are.
        arguments: see `PictureHook`.
    """

    def __init__(
        self, *, bands: Sequence[int] = (3, 2, 1), stretch: bool = False, **arguments: Any
    ) -> None:
        super().__init__(**arguments)
        self.bands = tuple(bands)
        self.stretch = stretch

    def write(self, path: Path, runner: Runner, *, inputs: Any, sample: Any) -> None:
        dates = [
            displayed(date.cpu().numpy(), bands=self.bands, stretch=self.stretch)
            for date in inputs.chunk(2)
        ]
        truth = sample.gt_sem_seg.data.squeeze().cpu().numpy()
        prediction = sample.pred_sem_seg.data.squeeze().cpu().numpy()
        painted = paint(*dates, truth=truth, prediction=prediction)
        write_image(path, np.asarray(painted))


def errors(truth: NDArray[Any], prediction: NDArray[Any]) -> NDArray[np.uint8]:
    """``(H, W, 3)`` uint8 in `COLOURS`: labels ``(H, W)`` of 0 and 1, others are not labelled."""
    palette = np.array([*COLOURS.values()], dtype=np.uint8)
    kinds = np.where(truth <= 1, 2 * truth + prediction, len(COLOURS) - 1)
    return palette[kinds]


def paint(
    first: NDArray[np.uint8],
    second: NDArray[np.uint8],
    *,
    truth: NDArray[Any],
    prediction: NDArray[Any],
) -> PillowImage.Image:
    """Paint two dates, truth and prediction in one row above a legend.

    Args:
        first, second: ``(H, W, 3)`` uint8.
        truth, prediction: ``(H, W)`` integers, 1 changed, 0 unchanged; other truth is unknown.
    """
    pictures = {
        "date 1": first,
        "date 2": second,
        "truth": errors(truth, truth),
        "prediction": errors(truth, prediction),
    }
    return panels(pictures, [*COLOURS.items()], smallest=256)
