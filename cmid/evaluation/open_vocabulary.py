"""Open-vocabulary segmentation: every pixel gets the class whose name its patch resembles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cmid.data.windows import tile
from cmid.evaluation.config import SlidingConfig
from cmid.evaluation.image_text import evaluation_mode, normalized
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
    size = model.size
    height, width = working_size(
        *pixels.shape[-2:], long_side=settings.long_side or 2 * size, smallest=size
    )
    to_size = resize if settings.antialias else resize_bilinear
    image = to_size(pixels, (height, width))
    stride = settings.stride or max(1, size // 2)
    places = tile(height, width, size=size, stride=stride)
    with evaluation_mode(model) as device:
        total = torch.zeros(len(queries), height, width, device=device)
        count = torch.zeros(height, width, device=device)
        for start in range(0, len(places), settings.batch_size):
            chosen = places[start : start + settings.batch_size]
            windows = torch.stack([image[:, w.slices[0], w.slices[1]] for w in chosen])
            maps = _window_similarities(model, windows.to(device), queries.to(device), settings)
            for window, similarity in zip(chosen, maps, strict=True):
                rows, columns = window.slices
                total[:, rows, columns] += similarity
                count[rows, columns] += 1
        return total / count


def _window_similarities(
    model: ImageTextModel, windows: Tensor, queries: Tensor, settings: SlidingConfig
) -> Tensor:
    """``(B, Q, size, size)``."""
    features = model.encode_images(windows)
    similarity = torch.einsum("benm,qe->bqnm", normalized(features.dense), queries)
    if settings.cls_weight:
        whole = normalized(features.pooled) @ queries.T  # (B, Q)
        similarity = similarity - settings.cls_weight * whole[..., None, None]
    return F.interpolate(similarity, windows.shape[-2:], mode="bilinear", align_corners=False)


def class_probabilities(
    model: ImageTextModel,
    pixels: Tensor,
    *,
    queries: Tensor,
    vocabulary: Vocabulary,
    settings: SlidingConfig = SlidingConfig(),
) -> Tensor:
    """Softmax over all queries at every pixel, and of each class the largest of its queries.

    Args:
        pixels: ``(3, H, W)`` uint8.
        queries: ``(Q, E)`` embeddings of length 1 of ``vocabulary.queries``.

    Returns:
        ``(K, H, W)`` float32 on the model's device; they need not add up to 1.
    """
    similarity = sliding_similarities(model, pixels, queries, settings)
    with torch.inference_mode():
        scale = model.logit_scale.exp() if settings.scale is None else settings.scale
        full = F.interpolate(
            scale * similarity[None], pixels.shape[-2:], mode="bilinear", align_corners=False
        )[0]
        members = torch.tensor(vocabulary.members, device=full.device)
        probabilities = full.softmax(dim=0)
        return torch.stack(
            [probabilities[members == k].amax(dim=0) for k in range(len(vocabulary.classes))]
        )


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
