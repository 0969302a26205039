"""Open-vocabulary segmentation: every pixel gets the class whose name its patch resembles."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from cmid.data.windows import Window
from cmid.evaluation.config import SlidingConfig
from cmid.evaluation.image_text import evaluation_mode, normalized
from cmid.inference.streaming import stitched
from cmid.inference.tiled import TiledScene
from cmid.inference.tiles import TileGrid
from cmid.models.dual_encoder import ImageTextModel
from cmid.views.crops import resize


@dataclass(frozen=True)
class Vocabulary:
    """Classes with their names.

    Attributes:
        classes: one name a class, for tables and legends.
        queries: all names of all classes.
        members: index of the class of every query.
        background: index of the class that pixels without a sure class get, or None.
    """

    classes: tuple[str, ...]
    queries: tuple[str, ...]
    members: tuple[int, ...]
    background: int | None = None

    @classmethod
    def parse(cls, lines: Sequence[str], *, background: str | None = None) -> Vocabulary:
        """From one line a class: names with commas between them, the first one is shown.

        Args:
            background: a name of the class of that role.

        Raises:
            ValueError: fewer than two classes, an empty line, a name that occurs twice, a
                background that is no name.
        """
        names = [[name.strip() for name in line.split(",")] for line in lines]
        flat = [name for synonyms in names for name in synonyms]
        if len(names) < 2 or not all(flat):
            raise ValueError(f"a vocabulary needs two or more lines of names, not {[*lines]}")
        if len(set(flat)) < len(flat):
            twice = next(name for name in flat if flat.count(name) > 1)
            raise ValueError(f"{twice!r} occurs twice in the vocabulary")
        if background is not None and background not in flat:
            raise ValueError(f"background {background!r} is not in the vocabulary")
        members = tuple(k for k, synonyms in enumerate(names) for _ in synonyms)
        number = None if background is None else members[flat.index(background)]
        return cls(tuple(synonyms[0] for synonyms in names), tuple(flat), members, number)


def working_size(height: int, width: int, *, long_side: int, smallest: int) -> tuple[int, int]:
    """Height and width with a longer side of ``long_side``, no side below ``smallest``."""
    scale = max(long_side / max(height, width), smallest / min(height, width))
    return max(smallest, round(height * scale)), max(smallest, round(width * scale))


def resize_bilinear(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize ``(C, H, W)`` uint8, each pixel from its four nearest neighbours, to whole values."""
    resized = F.interpolate(pixels[None].float(), size, mode="bilinear", align_corners=False)
    return resized[0].round_().clamp_(0, 255).to(pixels.dtype)


class QuerySimilarities:
    """Cosine similarities of queries at the pixels of tiles, a `DenseModel`.

    Args:
        queries: ``(Q, E)`` of length 1.
        cls_weight: see `SlidingConfig`.
        fill: what missing pixels of each band take.
    """

    stride = cell = 1

    def __init__(
        self,
        model: ImageTextModel,
        queries: Tensor,
        *,
        cls_weight: float = 0.0,
        fill: Sequence[float] = (),
    ) -> None:
        self.model = model
        self.device = model.logit_scale.device
        self.queries = queries.to(self.device)
        self.cls_weight = cls_weight
        self.channels, self.fill = len(queries), fill

    def __call__(self, pixels: Tensor) -> Tensor:
        features = self.model.encode_images(pixels.to(self.device))
        similarity = torch.einsum("benm,qe->bqnm", normalized(features.dense), self.queries)
        if self.cls_weight:
            whole = normalized(features.pooled) @ self.queries.T  # (B, Q)
            similarity = similarity - self.cls_weight * whole[..., None, None]
        return F.interpolate(similarity, pixels.shape[-2:], mode="bilinear", align_corners=False)


class _InMemory:
    """An image as a scene."""

    def __init__(self, pixels: Tensor) -> None:
        self.pixels = pixels.cpu().numpy()

    def read(
        self, window: Window, fill: Sequence[float] | float = 0
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        part = self.pixels[:, window.slices[0], window.slices[1]]
        return part, np.zeros(part.shape[1:], dtype=bool)


def _similarity_rows(
    model: ImageTextModel, image: Tensor, queries: Tensor, settings: SlidingConfig
) -> Iterator[Tensor]:
    """``(Q, rows, w)`` of an image ``(3, h, w)``, from top to bottom, in `evaluation_mode`."""
    size, (height, width) = model.size, image.shape[1:]
    stride = settings.stride or max(1, size // 2)
    if stride > size:
        raise ValueError(f"windows of {size} with stride {stride} leave gaps: lower the stride")
    grid = TileGrid(
        height=height, width=width, size=size, halo=0, overlap=size - stride, alike=True
    )
    asked = QuerySimilarities(model, queries, cls_weight=settings.cls_weight)
    window = Window(0, 0, height, width)
    tiled = TiledScene(_InMemory(image), window, grid, settings.batch_size)
    pieces = stitched(asked, tiled, device=asked.device)
    for _, strip in itertools.groupby(pieces, key=lambda piece: piece[0]):
        yield torch.cat([values for _, _, _, values, _ in strip], dim=2)


def _working_image(model: ImageTextModel, pixels: Tensor, settings: SlidingConfig) -> Tensor:
    long_side = settings.long_side or 2 * model.size
    size = working_size(*pixels.shape[-2:], long_side=long_side, smallest=model.size)
    return (resize if settings.antialias else resize_bilinear)(pixels, size)


def sliding_similarities(
    model: ImageTextModel,
    pixels: Tensor,
    queries: Tensor,
    settings: SlidingConfig = SlidingConfig(),
) -> Tensor:
    """Cosine similarities of queries at the pixels of the resized image, averaged over windows.

    Args:
        pixels: ``(3, H, W)`` uint8.
        queries: ``(Q, E)`` of length 1.

    Returns:
        ``(Q, h, w)`` float32 on the model's device.
    """
    image = _working_image(model, pixels, settings)
    with evaluation_mode(model):
        return torch.cat([*_similarity_rows(model, image, queries, settings)], dim=1)


def resized_rows(rows: Iterable[Tensor], source: int, size: tuple[int, int]) -> Iterator[Tensor]:
    """Resize an image that comes in parts, each pixel from its four nearest neighbours.

    Args:
        rows: ``(C, n, w)`` each, from top to bottom. source: how many rows they are together.
        size: height and width wanted.

    Returns:
        ``(C, m, W)`` each: together what ``F.interpolate`` makes of the whole image.
    """
    height, width = size
    place = ((torch.arange(height) + 0.5) * (source / height) - 0.5).clamp_(min=0)
    low = place.long()
    high = (low + 1).clamp_(max=source - 1)
    held, first, done = None, 0, 0
    for part in rows:
        wide = F.interpolate(
            part[None], (part.shape[1], width), mode="bilinear", align_corners=False
        )[0]
        held = wide if held is None else torch.cat([held, wide], dim=1)
        ready = int(torch.searchsorted(high, first + held.shape[1]))
        share = (place - low)[done:ready, None].to(held)
        above, below = (side[done:ready].to(held.device) - first for side in (low, high))
        yield held[:, above].lerp(held[:, below], share)
        first, done, held = first + held.shape[1] - 1, ready, held[:, -1:]


def class_probabilities(
    model: ImageTextModel,
    pixels: Tensor,
    *,
    queries: Tensor,
    vocabulary: Vocabulary,
    settings: SlidingConfig = SlidingConfig(),
) -> Tensor:
    """Softmax over all queries at every pixel, and of each class the largest of its queries.

    Of the queries no more than one row of windows is held.

    Args:
        pixels: ``(3, H, W)`` uint8.
        queries: ``(Q, E)`` embeddings of length 1 of ``vocabulary.queries``.

    Returns:
        ``(K, H, W)`` float32 on the model's device; they need not add up to 1.
    """
    height, width = pixels.shape[-2:]
    image = _working_image(model, pixels, settings)
    parts = []
    with evaluation_mode(model):
        scale = model.logit_scale.exp() if settings.scale is None else settings.scale
        similarity = _similarity_rows(model, image, queries, settings)
        for rows in resized_rows(similarity, image.shape[-2], (height, width)):
            probabilities = (scale * rows).softmax(dim=0)
            members = torch.tensor(vocabulary.members, device=rows.device)
            best = [probabilities[members == k].amax(dim=0) for k in range(len(vocabulary.classes))]
            parts.append(torch.stack(best))
    return torch.cat(parts, dim=1)


def label_pixels(
    probabilities: Tensor, *, background: int | None = None, threshold: float = 0.0
) -> Tensor:
    """``(H, W)`` int64 classes; pixels whose best class is below the threshold are background.

    Args:
        probabilities: ``(K, H, W)``.

    Raises:
        ValueError: a threshold without a background class.
    """
    best, labels = probabilities.max(dim=0)
    if threshold > 0:
        if background is None:
            raise ValueError("a threshold needs a background class: name it")
        labels = torch.where(best < threshold, background, labels)
    return labels
