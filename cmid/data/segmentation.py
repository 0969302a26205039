"""Images with a class for every pixel."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor

from cmid.data.decoding import decode_image
from cmid.data.folder import IMAGE_EXTENSIONS, find_files


class SegmentationFolder:
    """Images and masks of one stem, as OpenMMLab lays them: ``img_dir/`` and ``ann_dir/``.

    Args:
        root: folder that holds both.
        part: sub-folder of both (``train``), if there is one.
        num_classes: masks hold 0 to ``num_classes - 1``, and 255 for pixels to ignore.

    Raises:
        FileNotFoundError: a folder is missing or empty, or an image has no mask; names the first.
    """

    num_bands = 3

    def __init__(
        self, root: str | os.PathLike[str], *, num_classes: int, part: str | None = None
    ) -> None:
        self.num_classes = num_classes
        images, masks = (Path(root) / name / (part or "") for name in ("img_dir", "ann_dir"))
        self.images = [images / path for path in find_files(images, IMAGE_EXTENSIONS)]
        known = {Path(path).stem: masks / path for path in find_files(masks, (".png", ".tif"))}
        missing = [path for path in self.images if path.stem not in known]
        if missing:
            raise FileNotFoundError(f"{len(missing)} images have no mask, first {missing[0]}")
        self.masks = [known[path.stem] for path in self.images]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Image ``(3, H, W)`` uint8 and mask ``(H, W)`` uint8.

        Raises:
            ValueError: the mask has another size, several channels, or a class out of range.
        """
        pixels, _ = decode_image(self.images[index], num_bands=self.num_bands)
        path = self.masks[index]
        with PillowImage.open(path) as stored:
            mask = torch.from_numpy(np.array(stored).astype(np.uint8))
        if mask.shape != pixels.shape[1:]:
            raise ValueError(
                f"{path} is {tuple(mask.shape)}, its image {tuple(pixels.shape[1:])}: a mask has"
                " one channel and the size of its image"
            )
        wrong = mask[(mask >= self.num_classes) & (mask != 255)]
        if len(wrong):
            raise ValueError(
                f"{path} holds class {int(wrong[0])}; allowed are 0 to {self.num_classes - 1}, 255"
            )
        return pixels, mask


def select(folder: SegmentationFolder, indices: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    """Read some images with their masks."""
    return [folder[index] for index in indices]
