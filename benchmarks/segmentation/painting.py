"""Predictions painted: image, truth and prediction side by side, with a legend."""

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

from cmid.data.decoding import decode_image
from cmid.data.raster import RASTER_EXTENSIONS, read_raster
from cmid.data.writing import write_image

IGNORED_COLOUR = (70, 70, 70)
_SMALLEST_PANEL = 320  # pixels; smaller images are enlarged by a whole factor
_LARGEST_PANEL = 768
_GAP, _LINE, _SWATCH = 8, 22, 14


@HOOKS.register_module()
class PaintPredictions(Hook):
    """Write a picture of each tested image: ``DIR/NAME.png``.

    Arguments are named as those of mmdetection's ``DetVisualizationHook``.

    Args:
        draw: whether to do anything.
        test_out_dir: folder of the pictures; relative ones lie in the work dir.
        interval: paint every so many images.
        bands: of rasters, the three that are shown, counted from 1.
    """

    def __init__(
        self,
        draw: bool = False,
        test_out_dir: str = "pictures",
        interval: int = 1,
        bands: Sequence[int] = (1, 2, 3),
    ) -> None:
        self.draw = draw
        self.folder = test_out_dir
        self.interval = interval
        self.bands = tuple(bands)
        self.seen = 0
        self.names: set[str] = set()

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        if not self.draw:
            return
        meta = runner.visualizer.dataset_meta
        for sample in outputs:
            self.seen += 1
            if (self.seen - 1) % self.interval:
                continue
            truth = sample.get("gt_sem_seg")
            picture = paint(
                read_picture(sample.img_path, bands=self.bands),
                None if truth is None else truth.data.squeeze(0).cpu().numpy(),
                sample.pred_sem_seg.data.squeeze(0).cpu().numpy(),
                classes=meta["classes"],
                palette=meta["palette"],
            )
            path = Path(runner.work_dir, self.folder, self._name(sample.img_path))
            write_image(path, np.asarray(picture))

    def _name(self, path: str) -> str:
        """The image's, with its folders where another one has that, too."""
        parts = Path(path).with_suffix("").parts
        name = parts[-1]
        for part in reversed(parts[:-1]):
            if name not in self.names:
                break
            name = f"{part}_{name}"
        self.names.add(name)
        return f"{name}.png"


def read_picture(path: str, *, bands: Sequence[int] = (1, 2, 3)) -> NDArray[np.uint8]:
    """Read an image for display, ``(H, W, 3)`` uint8.

    A raster without these three bands is shown by its first one; types wider than 8 bits are
    stretched between their 2nd and 98th percentile.
    """
    if path.lower().endswith(RASTER_EXTENSIONS):
        stored, _ = read_raster(path)
        shown = [band - 1 for band in bands]
        pixels = stored[shown if max(shown) < len(stored) else [0, 0, 0]]
    else:
        pixels = decode_image(path)[0].numpy()
    if pixels.dtype != np.uint8:
        low, high = np.percentile(pixels, (2, 98))
        pixels = ((pixels - low) / max(high - low, 1e-6) * 255).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(1, 2, 0))


def paint(
    image: NDArray[np.uint8],
    truth: NDArray[Any] | None,
    prediction: NDArray[Any],
    *,
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
) -> PillowImage.Image:
    """Paint image, truth (if there is one) and prediction in one row above a legend.

    Args:
        image: ``(H, W, 3)`` uint8.
        truth, prediction: ``(H, W)`` class indices; others (255) are shown as ignored.
        classes, palette: names and colours.
    """
    panels = {"image": image, "truth": truth, "prediction": prediction}
    shown = {
        title: array if title == "image" else _coloured(array, palette)
        for title, array in panels.items()
        if array is not None
    }
    height, width = image.shape[:2]
    scale = max(1, -(-_SMALLEST_PANEL // max(height, width)))
    scale *= min(1.0, _LARGEST_PANEL / max(height, width))
    size = round(width * scale), round(height * scale)
    total = len(shown) * (size[0] + _GAP) + _GAP
    entries = [*zip(classes, palette, strict=True), ("ignored", IGNORED_COLOUR)]
    columns = max(1, total // _legend_width(classes))
    rows = -(-len(entries) // columns)
    canvas = PillowImage.new("RGB", (total, size[1] + _LINE * (rows + 1) + _GAP), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(14)
    for number, (title, array) in enumerate(shown.items()):
        left = _GAP + number * (size[0] + _GAP)
        pen.text((left, 2), title, fill="black", font=font)
        kind = "BICUBIC" if title == "image" else "NEAREST"
        panel = PillowImage.fromarray(array).resize(size, PillowImage.Resampling[kind])
        canvas.paste(panel, (left, _LINE))
    for number, (name, colour) in enumerate(entries):
        row, column = divmod(number, columns)
        left = _GAP + column * (total - _GAP) // columns
        top = size[1] + _GAP + _LINE * (row + 1)
        box = (left, top, left + _SWATCH, top + _SWATCH)
        pen.rectangle(box, fill=tuple(colour), outline="black")
        pen.text((left + _SWATCH + 5, top - 2), name, fill="black", font=font)
    return canvas


def _coloured(labels: NDArray[Any], palette: Sequence[Sequence[int]]) -> NDArray[np.uint8]:
    table = np.tile(np.array(IGNORED_COLOUR, dtype=np.uint8), (256, 1))
    table[: len(palette)] = palette
    return table[labels.astype(np.uint8)]


def _legend_width(classes: Sequence[str]) -> int:
    font = ImageFont.load_default(14)
    longest = max(font.getlength(name) for name in (*classes, "ignored"))
    return int(longest) + _SWATCH + 2 * _GAP + 5
