"""Tested pairs painted: both dates, truth, and prediction with its errors in colour."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from cmid.data.writing import write_image

# Numbered 2 * truth + prediction. Red and blue are told apart with any colour vision.
COLOURS: dict[str, tuple[int, int, int]] = {
    "true negative": (0, 0, 0),
    "false positive": (230, 60, 40),
    "false negative": (60, 140, 255),
    "true positive": (255, 255, 255),
    "not labelled": (110, 110, 110),
}
_SMALLEST_PANEL = 256  # pixels; smaller pairs are enlarged by a whole factor
_LARGEST_PANEL = 768
_GAP, _LINE, _SWATCH = 8, 22, 14


@HOOKS.register_module()
class PaintChanges(Hook):
    """Write a picture of each tested pair: ``DIR/NAME.png``.

    Arguments are named as those of mmdetection's ``DetVisualizationHook``.

    Args:
        draw: whether to do anything.
        test_out_dir: folder of the pictures; relative ones lie in the work dir.
        interval: paint every so many pairs.
        bands: the three of a date that are shown as red, green and blue, counted from 1. The
            default fits images that OpenCV reads, and blue-green-red-... of multispectral ones.
        stretch: between the 2nd and 98th percentile of each band and date; types other than 8 bits
            always are.
    """

    def __init__(
        self,
        draw: bool = False,
        test_out_dir: str = "pictures",
        interval: int = 1,
        bands: Sequence[int] = (3, 2, 1),
        stretch: bool = False,
    ) -> None:
        self.draw = draw
        self.folder = test_out_dir
        self.interval = interval
        self.bands = tuple(bands)
        self.stretch = stretch
        self.seen = 0
        self.names: set[str] = set()

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        if not self.draw:
            return
        pairs = data_batch["inputs"]
        if isinstance(pairs[0], list | tuple):  # test-time augmentation: the first is as loaded
            pairs = pairs[0]
        for pair, sample in zip(pairs, outputs, strict=True):
            self.seen += 1
            if (self.seen - 1) % self.interval:
                continue
            dates = [
                shown(date.cpu().numpy(), bands=self.bands, stretch=self.stretch)
                for date in pair.chunk(2)
            ]
            truth = sample.gt_sem_seg.data.squeeze().cpu().numpy()
            prediction = sample.pred_sem_seg.data.squeeze().cpu().numpy()
            picture = paint(*dates, truth=truth, prediction=prediction)
            path = Path(runner.work_dir, self.folder, self._name(sample.img_path))
            write_image(path, np.asarray(picture))

    def _name(self, path: str) -> str:
        """The first date's, with its folders where another pair has that name, too."""
        *folders, name = Path(path).with_suffix("").parts
        while name in self.names and folders:
            name = f"{folders.pop()}_{name}"
        self.names.add(name)
        return f"{name}.png"


def shown(date: NDArray[Any], *, bands: Sequence[int], stretch: bool) -> NDArray[np.uint8]:
    """``(C, H, W)`` of any type as ``(H, W, 3)`` uint8; without these bands, the first in grey."""
    chosen = [band - 1 for band in bands]
    pixels = date[chosen if max(chosen) < len(date) else [0, 0, 0]].transpose(1, 2, 0)
    if stretch or pixels.dtype != np.uint8:
        low, high = np.percentile(pixels, (2, 98), axis=(0, 1))
        pixels = (pixels - low) / np.maximum(high - low, 1e-6) * 255
    return np.ascontiguousarray(pixels.clip(0, 255).astype(np.uint8))


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
    panels = {
        "date 1": first,
        "date 2": second,
        "truth": errors(truth, truth),
        "prediction": errors(truth, prediction),
    }
    height, width = truth.shape
    scale: float = max(1, -(-_SMALLEST_PANEL // max(height, width)))
    scale *= min(1.0, _LARGEST_PANEL / max(height, width))
    size = round(width * scale), round(height * scale)
    font = ImageFont.load_default(14)
    steps = [_SWATCH + 22 + round(font.getlength(name)) for name in COLOURS]
    total = max(4 * (size[0] + _GAP), sum(steps)) + _GAP
    canvas = PillowImage.new("RGB", (total, size[1] + 2 * _LINE + _GAP), "white")
    pen = ImageDraw.Draw(canvas)
    for number, (title, array) in enumerate(panels.items()):
        x = _GAP + number * (size[0] + _GAP)
        pen.text((x, 2), title, fill="black", font=font)
        nearest = PillowImage.Resampling.NEAREST
        canvas.paste(PillowImage.fromarray(array).resize(size, nearest), (x, _LINE))
    x, y = _GAP, size[1] + _LINE + _GAP
    for (name, colour), step in zip(COLOURS.items(), steps, strict=True):
        pen.rectangle((x, y, x + _SWATCH, y + _SWATCH), fill=colour, outline="black")
        pen.text((x + _SWATCH + 6, y - 1), name, fill="black", font=font)
        x += step
    return canvas
