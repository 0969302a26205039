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

from cmid.data.decoding import decode_image
from cmid.data.raster_files import read_raster
from cmid.data.rasters import RASTER_EXTENSIONS
from cmid.data.writing import write_image
from cmid.visualization.label_maps import IGNORED_COLOUR, paint

__all__ = ["IGNORED_COLOUR", "PaintPredictions", "paint", "read_picture"]


@HOOKS.register_module()
class PaintPredictions(Hook):
    """Write a picture of each tested image: ``DIR/NAME.png``.

    Arguments are named as those of mmdetection's ``DetVisualizationHook``.

    Args:
        draw: whether to do anything.
        test_out_dir: folder of the pictures; relative ones lie in the work dir.
        interval: paint every so many images.
        bands: the three bands of a raster to show, counted from 1.
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
