"""Pictures of what a test predicts, one base of the hooks that write them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner
from numpy.typing import NDArray

from cmid.data.decoding import read_image
from cmid.data.raster_paths import RASTER_EXTENSIONS
from cmid.data.raster_reading import read_raster


class PictureHook(Hook):
    """Write a picture of each tested image: ``DIR/NAME.png``.

    Arguments are named as those of mmdetection's ``DetVisualizationHook``.

    Args:
        draw: whether to do anything.
        test_out_dir: folder of the pictures; relative ones lie in the work dir.
        interval: draw every so many images.
    """

    def __init__(
        self, draw: bool = False, test_out_dir: str = "pictures", interval: int = 1
    ) -> None:
        self.draw = draw
        self.folder = test_out_dir
        self.interval = interval
        self.seen = 0
        self.names: set[str] = set()

    @abstractmethod
    def write(self, path: Path, runner: Runner, *, inputs: Any, sample: Any) -> None:
        """Write the picture of a sample.

        Args:
            path: path of the PNG.
            inputs: what the network was given.
            sample: truth and prediction.
        """

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        if not self.draw:
            return
        for inputs, sample in zip(_inputs(data_batch, len(outputs)), outputs, strict=True):
            self.seen += 1
            if (self.seen - 1) % self.interval == 0:
                path = Path(runner.work_dir, self.folder, self._name(sample.img_path))
                self.write(path, runner, inputs=inputs, sample=sample)

    def _name(self, path: str) -> str:
        """The image's, with its folders where another one has that name, too."""
        *folders, name = Path(path).with_suffix("").parts
        while name in self.names and folders:
            name = f"{folders.pop()}_{name}"
        self.names.add(name)
        return f"{name}.png"


def read_picture(path: str, *, bands: Sequence[int] = (1, 2, 3)) -> NDArray[np.uint8]:
    """Read an image for display, ``(H, W, 3)`` uint8, as `displayed` shows it."""
    if path.lower().endswith(RASTER_EXTENSIONS):
        return displayed(read_raster(path)[0], bands=bands)
    return displayed(read_image(path).pixels.numpy(), bands=(1, 2, 3))


def displayed(
    pixels: NDArray[Any], *, bands: Sequence[int], stretch: bool = False
) -> NDArray[np.uint8]:
    """Three bands of ``(C, H, W)`` as ``(H, W, 3)`` uint8; where they are missing, the first.

    Args:
        bands: which are shown as red, green and blue, counted from 1.
        stretch: show the 2nd to 98th percentile of each band; types other than 8 bits always are.
    """
    chosen = [band - 1 for band in bands]
    shown = pixels[chosen if max(chosen) < len(pixels) else [0, 0, 0]].transpose(1, 2, 0)
    if stretch or shown.dtype != np.uint8:
        low, high = np.percentile(shown, (2, 98), axis=(0, 1))
        shown = (shown - low) / np.maximum(high - low, 1e-6) * 255
    return np.ascontiguousarray(shown.clip(0, 255).astype(np.uint8))


def _inputs(data_batch: Any, count: int) -> Iterator[Any]:
    inputs = [None] * count if data_batch is None else data_batch["inputs"]
    # Test-time augmentation gives a list of batches: the first is as loaded.
    yield from inputs[0] if isinstance(inputs[0], list | tuple) else inputs
