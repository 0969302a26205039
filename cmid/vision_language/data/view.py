"""The worker's half of image-text batches: one view of an image, regions of it, and their texts."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from cmid.boxes import Box, area, overlap
from cmid.data.source import Image, UnreadableImageError
from cmid.data.transform import SampleTransform
from cmid.data.values import require_8bit
from cmid.views.config import CropConfig
from cmid.views.crops import Crop, cut, draw_crop
from cmid.vision_language.data.boxes import BoxLimitConfig
from cmid.vision_language.data.directions import names_direction
from cmid.vision_language.data.source import ImageTextSource, Region

_WHOLE = Crop(0.0, 0.0, 1.0, 1.0)
OUTSIDE, BEYOND_LIMITS, SURPLUS = "outside of the view", "beyond the limits of area", "surplus"
WITHOUT_TEXT = {"category": "without a category", "caption": "without a caption"}


class ImageTextView(SampleTransform):
    """A square view that keeps the aspect of an image, one of its captions, and some regions.

    In training the square is a random one of a random size, flipped and turned at random; but
    where the caption or the text of a region names a direction (left, north, ...), it is neither
    flipped nor turned. Without ``training`` it is the largest centred square, as it lies, and the
    first caption and the first text of each region are taken.

    Args:
        size: height and width of the view, and of the images of regions, in pixels.
        scale: range of the square's share of the largest square's area.
        flip: probability of a horizontal flip.
        quarter_turns: also rotate by a random multiple of 90 degrees.
        regions: ``none``; ``random``: crops of the view without a text (stage 1 of FarSLIP,
            arXiv:2511.14901); ``annotated``: those of the source (stage 2).
        region_text: which of an annotated region's texts: ``category``, ``caption`` (of its own),
            or ``both``, one or the other with equal probability. Regions without such a text are
            counted and left out.
        max_regions: regions a view has at most; of more, some are drawn (and others counted).
        region_scale: range of a random region's share of the view's area.
        region_ratio: range of its width / height.
        limits: areas of annotated boxes that are used; others are counted.
        min_visible: an annotated box is used if this share of its area lies in the view.
        training: random or centred.
    """

    def __init__(
        self,
        *,
        size: int = 224,
        scale: tuple[float, float] = (0.9, 1.0),
        flip: float = 0.5,
        quarter_turns: bool = True,
        regions: Literal["none", "random", "annotated"] = "none",
        region_text: Literal["both", "category", "caption"] = "both",
        max_regions: int = 4,
        region_scale: tuple[float, float] = (0.3, 0.7),
        region_ratio: tuple[float, float] = (3 / 4, 4 / 3),
        limits: BoxLimitConfig = BoxLimitConfig(),
        min_visible: float = 0.5,
        training: bool = True,
    ) -> None:
        if size < 1 or max_regions < 1:
            raise ValueError(f"view size {size} and max_regions {max_regions} must be 1 or more")
        if not 0 < scale[0] <= scale[1] <= 1:
            raise ValueError(f"view scale {scale} is not a range within (0, 1]")
        if not (0 <= flip <= 1 and 0 < min_visible <= 1):
            raise ValueError(f"view flip {flip} or min_visible {min_visible} is not a share of 1")
        if region_text != "both" and region_text not in WITHOUT_TEXT:
            raise ValueError(f"view region_text {region_text!r} is not both, category or caption")
        self.size = size
        self.scale = scale
        self.flip = flip
        self.quarter_turns = quarter_turns
        self.regions = regions
        self.region_text = region_text
        self.max_regions = max_regions
        self.region_crop = CropConfig(scale=region_scale, ratio=region_ratio, flip=0)
        self.limits = limits
        self.min_visible = min_visible
        self.training = training

    def centred(self) -> ImageTextView:
        """The same view for validation: without randomness but for random regions."""
        view = copy.copy(self)
        view.training = False
        return view

    def sample(
        self, source: ImageTextSource, index: int, generator: np.random.Generator
    ) -> dict[str, Any]:
        """Read image ``index`` and make its view.

        Returns:
            ``image`` ``(3, size, size)`` uint8, ``text``; of its regions ``boxes`` ``(K, 4)``
            float32, x0, y0, x1, y1 as fractions of the view, ``region_images``
            ``(K, 3, size, size)`` uint8, ``region_texts`` (empty for random crops) and
            ``region_keys``, what each text is about (its category, or itself); ``left_out``,
            counts of annotated regions that are not used, by reason.

        Raises:
            UnreadableImageError: the image could not be decoded, or has more than 8 bits a band.
        """
        share = generator.uniform(*self.scale) if self.training else 1.0
        position = generator.uniform(size=2) if self.training else np.array([0.5, 0.5])
        crops = self._draw_crops(generator)
        item = source.read(index, min_size=self._min_size(share, crops), generator=generator)
        require_8bit(item.image.pixels, item.image.name, error=UnreadableImageError)
        window = _square(item.image, share, position)
        text = item.captions[self._draw(len(item.captions), generator)]
        regions, left_out = self._choose_regions(item.regions, item.image, window, generator)
        region_texts = [self._draw_text(region, generator) for region in regions]
        window = self._draw_orientation(window, [text, *region_texts], generator)
        keys = [region.key(t) for region, t in zip(regions, region_texts, strict=True)]
        if self.regions == "random":
            boxes = [_box_in(window, crop, item.image.full_size) for crop in crops]
            region_texts = keys = [""] * len(boxes)
        else:
            boxes = [region.box for region in regions]
        return {
            **self._cut(item.image, window, boxes),
            "text": text,
            "region_texts": region_texts,
            "region_keys": keys,
            "left_out": left_out,
        }

    def _draw_crops(self, generator: np.random.Generator) -> list[Crop]:
        if self.regions != "random":
            return []
        return [draw_crop(self.region_crop, generator) for _ in range(self.max_regions)]

    def _min_size(self, share: float, crops: Sequence[Crop]) -> tuple[float, float] | None:
        """Decoding may leave out resolution that neither the view nor a region would show."""
        if self.regions == "annotated":
            return None  # boxes are not known yet
        smallest = min((min(crop.width, crop.height) for crop in crops), default=1.0)
        side = self.size / (math.sqrt(share) * smallest)
        return side, side

    def _draw(self, count: int, generator: np.random.Generator) -> int:
        return int(generator.integers(count)) if self.training else 0

    def _draw_text(self, region: Region, generator: np.random.Generator) -> str:
        """A prompt or a caption of its own with equal probability, where both are wanted."""
        kinds = [texts for texts in self._texts(region) if texts]
        texts = kinds[self._draw(len(kinds), generator)]
        return texts[self._draw(len(texts), generator)]

    def _texts(self, region: Region) -> list[list[str]]:
        """Of a region, the prompts of its category and its captions, as far as they are wanted."""
        prompts = [text for text in region.texts if text not in region.captions]
        wanted = {"category": prompts, "caption": list(region.captions)}
        return [*wanted.values()] if self.region_text == "both" else [wanted[self.region_text]]

    def _draw_orientation(
        self, window: Crop, texts: Sequence[str], generator: np.random.Generator
    ) -> Crop:
        flip, turns = generator.random() < self.flip, int(generator.integers(4))
        if not self.training or any(map(names_direction, texts)):
            return window
        return replace(window, flip=bool(flip), turns=turns if self.quarter_turns else 0)

    def _choose_regions(
        self, regions: Sequence[Region], image: Image, window: Crop, generator: np.random.Generator
    ) -> tuple[list[Region], Counter[str]]:
        left_out: Counter[str] = Counter()
        if self.regions != "annotated":
            return [], left_out
        view = _box_in(window, _WHOLE, image.full_size)
        seen = []
        for region in regions:
            if not self.limits.admit(region.box):
                left_out[BEYOND_LIMITS] += 1
            elif not any(self._texts(region)):
                left_out[WITHOUT_TEXT[self.region_text]] += 1
            elif area(overlap(region.box, view)) < self.min_visible * area(region.box):
                left_out[OUTSIDE] += 1
            else:
                seen.append(region)
        if len(seen) > self.max_regions:
            left_out[SURPLUS] = len(seen) - self.max_regions
            order = generator.permutation(len(seen)) if self.training else np.arange(len(seen))
            seen = [seen[i] for i in sorted(order[: self.max_regions])]
        return seen, left_out

    def _cut(self, image: Image, window: Crop, boxes: Sequence[Box]) -> dict[str, Tensor]:
        """View and regions, oriented alike; boxes as they were cut, on whole pixels."""
        view, matrix = cut(image, window, self.size)
        in_view = _box_in(window, _WHOLE, image.full_size)
        images, places = [], []
        for box in boxes:
            crop = _crop_around(overlap(box, in_view), image, window)
            pixels, region_matrix = cut(image, crop, self.size)
            corners = np.array([[0, self.size], [0, self.size], [1, 1]])
            x, y, _ = np.linalg.inv(matrix) @ region_matrix @ corners / self.size
            places.append(np.array([x.min(), y.min(), x.max(), y.max()]).clip(0, 1))
            images.append(pixels)
        blank = view.new_zeros((0, *view.shape))
        return {
            "image": view.contiguous(),
            "boxes": torch.from_numpy(np.array(places).reshape(-1, 4)).float(),
            "region_images": torch.stack(images).contiguous() if images else blank,
        }


def _square(image: Image, share: float, position: np.ndarray) -> Crop:
    """A square of whole stored pixels; ``position`` in [0, 1] from one border to the other."""
    height, width = image.full_size
    side = max(1, round(math.sqrt(share) * min(height, width)))
    left, top = round(position[0] * (width - side)), round(position[1] * (height - side))
    return Crop(left / width, top / height, side / width, side / height)


def _box_in(window: Crop, crop: Crop, size: tuple[int, int]) -> Box:
    """Box in stored pixels of a crop within a window, before the window's flip and turns."""
    height, width = size
    x0 = (window.left + crop.left * window.width) * width
    y0 = (window.top + crop.top * window.height) * height
    return x0, y0, x0 + crop.width * window.width * width, y0 + crop.height * window.height * height


def _crop_around(box: Box, image: Image, window: Crop) -> Crop:
    """The whole decoded pixels that a box touches, oriented as the window is."""
    height, width = image.pixels.shape[-2:]
    step_x, step_y = width / image.full_size[1], height / image.full_size[0]
    rounding = 1e-6  # of a pixel, from fractions and back
    x0, y0 = math.floor(box[0] * step_x + rounding), math.floor(box[1] * step_y + rounding)
    x1, y1 = math.ceil(box[2] * step_x - rounding), math.ceil(box[3] * step_y - rounding)
    x0, y0 = min(x0, width - 1), min(y0, height - 1)
    across, down = max(x1 - x0, 1), max(y1 - y0, 1)
    return Crop(x0 / width, y0 / height, across / width, down / height, window.flip, window.turns)
