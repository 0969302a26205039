"""Painted maps of open-vocabulary segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from cmid.data.writing import write_image
from cmid.vision_language.prompts.vocabularies import palette
from cmid.visualization.panels import label_panels


class MapPainter:
    """Writes ``DIR/PREFIX_INDEX.png`` with image, truth, prediction and legend.

    Args:
        folder: folder of the pictures.
        prefix: what their names begin with.
        classes: names for the legend.
        total: number of images; ``limit`` of them, evenly spaced, are painted.
        limit: how many pictures at most.
    """

    def __init__(
        self, folder: Path, *, prefix: str, classes: Sequence[str], total: int, limit: int = 4
    ) -> None:
        self.folder = folder
        self.prefix = prefix
        self.classes = tuple(classes)
        spaced = np.linspace(0, total - 1, min(limit, total)).round()
        self.painted = {int(index) for index in spaced}
        self.paths: list[Path] = []

    def __call__(self, index: int, pixels: Tensor, mask: Tensor, labels: Tensor) -> None:
        if index not in self.painted:
            return
        picture = label_panels(
            np.ascontiguousarray(pixels.permute(1, 2, 0).numpy()),
            mask.numpy(),
            labels.numpy(),
            classes=self.classes,
            palette=palette(self.classes),
        )
        path = self.folder / f"{self.prefix}_{index:04}.png"
        write_image(path, np.asarray(picture))
        self.paths.append(path)
