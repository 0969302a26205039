"""The worker's half of the views: decode once, cut two crops as they are stored, draw the masks."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cmid.data.source import Image, ImageSource
from cmid.data.transform import SampleTransform
from cmid.views.config import CropConfig
from cmid.views.geometry import crop_matrix, flip_matrix, quarter_turn_matrix
from cmid.views.masks import block_mask


@dataclass(frozen=True)
class Crop:
    """A crop in fractions of the image: box, then flip, then quarter turns."""

    left: float
    top: float
    width: float
    height: float
    flip: bool = False
    turns: int = 0


def draw_crop(parameters: CropConfig, generator: np.random.Generator) -> Crop:
    """Draw a random resized crop; fractions refer to an image squeezed to a square.

    Up to ten draws look for a box that fits, as torchvision's ``RandomResizedCrop`` does; then
    the largest centred box of an allowed ratio is taken.
    """
    low, high = (math.log(value) for value in parameters.ratio)
    for _ in range(10):
        area = generator.uniform(*parameters.scale)
        ratio = math.exp(generator.uniform(low, high))
        width, height = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if width <= 1 and height <= 1:
            break
    else:
        ratio = min(max(1.0, parameters.ratio[0]), parameters.ratio[1])
        width, height = min(1.0, ratio), min(1.0, 1 / ratio)
    return Crop(
        left=generator.uniform(0, 1 - width),
        top=generator.uniform(0, 1 - height),
        width=width,
        height=height,
        flip=bool(generator.random() < parameters.flip),
        turns=int(generator.integers(4)) if parameters.quarter_turns else 0,
    )


def cut(image: Image, crop: Crop, size: int) -> tuple[Tensor, np.ndarray]:
    """Cut a crop and resize it to ``size`` x ``size`` (bicubic, antialiased).

    Returns:
        the view ``(C, size, size)`` in the image's dtype, and the ``(3, 3)`` matrix that maps its
        pixels to pixels of the image as it is stored.
    """
    height, width = image.pixels.shape[-2:]
    x0, x1 = _whole_pixels(crop.left, crop.width, width)
    y0, y1 = _whole_pixels(crop.top, crop.height, height)
    view = resize(image.pixels[:, y0:y1, x0:x1], (size, size))
    # Pixels of a reduced decoding are larger than those of the stored image.
    step_y, step_x = image.full_size[0] / height, image.full_size[1] / width
    matrix = crop_matrix(
        x0 * step_x, y0 * step_y, (x1 - x0) * step_x / size, (y1 - y0) * step_y / size
    )
    if crop.flip:
        view, matrix = view.flip(-1), matrix @ flip_matrix(size)
    if crop.turns:
        view = view.rot90(crop.turns, (-2, -1))
        matrix = matrix @ quarter_turn_matrix(crop.turns, size)
    return view, matrix


def resize(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize ``(C, H, W)`` of any dtype of a source, bicubic with antialiasing, keeping the dtype.

    torch has a fast kernel for up to four uint8 channels; wider uint8 images go through float32.
    """
    if tuple(pixels.shape[-2:]) == size:
        return pixels
    wide = pixels.dtype == torch.uint8 and len(pixels) > 4
    batch = pixels[None].float() if wide else pixels[None]
    resized = F.interpolate(batch, size, mode="bicubic", antialias=True, align_corners=False)[0]
    return resized.round_().clamp_(0, 255).to(torch.uint8) if wide else resized


def _whole_pixels(start: float, length: float, total: int) -> tuple[int, int]:
    extent = min(total, max(1, round(length * total)))
    first = min(round(start * total), total - extent)
    return first, first + extent


class TwoViews(SampleTransform):
    """Two random views of an image with their geometry and their block masks.

    Of an image with a second date each view shows one date, in random order: what both have in
    common is the place, and not the season, light and haze of a date (SeCo, arXiv:2103.16607).

    Args:
        size: height and width of a view in pixels.
        block_size: height and width of a mask block in pixels; a multiple of the stride of the
            encoder's stem, and a divisor of ``size``.
        mask_ratio: share of the blocks that the student does not see.
        crop: geometry of both views.
    """

    def __init__(
        self,
        *,
        size: int = 224,
        block_size: int = 32,
        mask_ratio: float = 0.6,
        crop: CropConfig | None = None,
    ) -> None:
        if size < 1 or block_size < 1 or size % block_size:
            raise ValueError(
                f"block_size {block_size} does not divide the view size {size}:"
                " choose a divisor of it"
            )
        if not 0 <= mask_ratio <= 1:
            raise ValueError(f"mask_ratio {mask_ratio} is not in [0, 1]")
        self.size = size
        self.block_size = block_size
        self.mask_ratio = mask_ratio
        self.crop = crop or CropConfig()

    def sample(
        self, source: ImageSource, index: int, generator: np.random.Generator
    ) -> dict[str, Any]:
        """Read image ``index`` and cut it.

        Returns:
            ``views`` ``(2, C, size, size)`` in the source's dtype, ``matrices`` ``(2, 3, 3)``
            float32, ``masks`` ``(2, g, g)`` bool with ``g = size / block_size``, ``label`` int.
        """
        crops = [draw_crop(self.crop, generator) for _ in range(2)]
        grid = (self.size // self.block_size, self.size // self.block_size)
        masks = [block_mask(grid, self.mask_ratio, generator) for _ in range(2)]
        # Decoding may leave out resolution that neither crop would show.
        min_size = (
            self.size / min(crop.height for crop in crops),
            self.size / min(crop.width for crop in crops),
        )
        image = source.read(index, min_size=min_size, generator=generator)
        dates = [image, image]
        if image.second_date is not None:
            dates[generator.integers(2)] = replace(image, pixels=image.second_date)
        cuts = (cut(date, crop, self.size) for date, crop in zip(dates, crops, strict=True))
        views, matrices = zip(*cuts, strict=True)
        return {
            "views": torch.stack(views).contiguous(),
            "matrices": torch.from_numpy(np.stack(matrices)).float(),
            "masks": torch.stack(masks),
            "label": image.label,
        }
