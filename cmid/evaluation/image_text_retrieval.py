"""Retrieval between images and captions, over de-duplicated images and de-duplicated captions."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from cmid.data.source import Image, IndexedSource
from cmid.evaluation.config import PREFIX, Fit, Identity
from cmid.evaluation.image_text import (
    embed_texts,
    evaluation_mode,
    fit_square,
    normalized,
    require_rgb,
)
from cmid.models.dual_encoder import ImageTextModel


class CaptionedImage(Protocol):
    """An image with captions, such as an entry of a source of ``cmid.vision_language.data``."""

    @property
    def image(self) -> Image:
        """The decoded image."""

    @property
    def captions(self) -> Sequence[str]:
        """What is said of it."""


@dataclass(frozen=True)
class RetrievalScores:
    """Recalls by name, each in [0, 1].

    ``image_to_text@k`` is the share of images with one of their captions among the k nearest,
    ``text_to_image@k`` the share of captions with one of their images among them;
    ``image_to_text`` and ``text_to_image`` are means over k, ``mean`` is that of both.

    Attributes:
        recalls: recall of the model by measure.
        chance: recall of random rankings, likewise.
        images, texts: how many there are without duplicates.
        repeated_images, repeated_texts: entries and captions that were duplicates.
    """

    recalls: dict[str, float]
    chance: dict[str, float]
    images: int
    texts: int
    repeated_images: int
    repeated_texts: int


def first_relevant(similarity: Tensor, relevant: Tensor) -> Tensor:
    """Rank (from 0) of the nearest relevant candidate of every query; ties count against it.

    Args:
        similarity: ``(N, M)`` of N queries and M candidates.
        relevant: ``(N, M)`` bool, with at least one True a row.
    """
    nearest = similarity.masked_fill(~relevant, -math.inf).amax(dim=1, keepdim=True)
    # A collapsed model makes everything equal: with ties in its favour it would be perfect.
    return ((similarity >= nearest) & ~relevant).sum(dim=1)


def recalls(
    similarity: Tensor, relevant: Tensor, *, ks: Sequence[int] = (1, 5, 10)
) -> dict[str, float]:
    """Recalls of both directions, named as in `RetrievalScores`.

    Args:
        similarity: ``(I, T)`` of images and texts.
        relevant: ``(I, T)`` bool: which text is right for which image.
    """
    ranks = {
        "image_to_text": first_relevant(similarity, relevant),
        "text_to_image": first_relevant(similarity.T, relevant.T),
    }
    scores = {f"{n}@{k}": float((r < k).float().mean()) for n, r in ranks.items() for k in ks}
    return _with_means(scores, ks)


def chance_recalls(relevant: Tensor, *, ks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
    """Expected `recalls` of random rankings: 1 - C(M - r, k) / C(M, k) for r relevant of M."""
    scores = {}
    for name, matrix in (("image_to_text", relevant), ("text_to_image", relevant.T)):
        total = matrix.shape[1]
        counts, times = matrix.sum(dim=1).unique(return_counts=True)
        for k in ks:
            drawn = min(k, total)
            missed = [math.comb(total - int(r), drawn) / math.comb(total, drawn) for r in counts]
            share = sum(m * int(t) for m, t in zip(missed, times, strict=True)) / len(matrix)
            scores[f"{name}@{k}"] = 1 - share
    return _with_means(scores, ks)


def _with_means(scores: dict[str, float], ks: Sequence[int]) -> dict[str, float]:
    means = {
        name: sum(scores[f"{name}@{k}"] for k in ks) / len(ks)
        for name in ("image_to_text", "text_to_image")
    }
    return {**scores, **means, "mean": sum(means.values()) / 2}


def image_text_retrieval(
    model: ImageTextModel,
    source: IndexedSource[CaptionedImage],
    *,
    prefix: str = PREFIX,
    identity: Identity = "name",
    ks: Sequence[int] = (1, 5, 10),
    fit: Fit = "crop",
    cache: str | os.PathLike[str] | None = None,
    batch_size: int = 64,
    num_workers: int = 0,
    progress: str | None = None,
) -> RetrievalScores:
    """Rank captions by images and images by captions.

    Entries of one image are one image with all their captions. Captions that differ in white space
    only are one caption, and right for every image that has it.

    Args:
        prefix: put before every caption.
        identity: ``name``: entries of one name (path) are one image, those without a name are told
            apart by their pixels; ``pixels``: copies under several names are one image, too.
        cache: folder for text embeddings.
        fit, batch_size, num_workers, progress: see `embed_images`.

    Raises:
        ValueError: no caption, or one image has none.
    """
    entries = _Entries(source, model.size, fit, identity)
    loader: DataLoader[Any] = DataLoader(
        entries, batch_size=batch_size, num_workers=num_workers, collate_fn=list
    )
    pairs: list[tuple[int, str]] = []  # rows of images with their captions
    features: list[Tensor] = []
    with evaluation_mode(model) as device:
        bar = tqdm(loader, desc=progress, unit="batch", disable=progress is None)
        for new in _new_images(bar, pairs):
            features.append(normalized(model.encode_images(new.to(device)).pooled).cpu())
    images = torch.cat(features)
    texts = list(dict.fromkeys(text for _, text in pairs))
    place = {text: column for column, text in enumerate(texts)}
    relevant = torch.zeros(len(images), len(texts), dtype=torch.bool)
    relevant[[row for row, _ in pairs], [place[text] for _, text in pairs]] = True
    embedded = embed_texts(model, [prefix + text for text in texts], cache=cache)
    return RetrievalScores(
        recalls(images @ embedded.T, relevant, ks=ks),
        chance_recalls(relevant, ks=ks),
        images=len(images),
        texts=len(texts),
        repeated_images=len(entries) - len(images),
        repeated_texts=len(pairs) - len(texts),
    )


class _Entries(Dataset[tuple[Tensor, str, list[str]]]):
    """Squares, what identifies their images, and captions without needless white space."""

    def __init__(
        self, source: IndexedSource[CaptionedImage], size: int, fit: Fit, identity: Identity
    ) -> None:
        self.source, self.size, self.fit, self.identity = source, size, fit, identity

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Tensor, str, list[str]]:
        entry = self.source.read(index, min_size=(self.size, self.size))
        pixels, name = require_rgb(entry.image), entry.image.name
        captions = [" ".join(text.split()) for text in entry.captions]
        captions = [text for text in captions if text]
        if not captions:
            raise ValueError(f"{name or f'image {index}'} has no caption: leave it out")
        if self.identity == "pixels" or not name:
            name = hashlib.sha256(pixels.contiguous().numpy().tobytes()).hexdigest()
        return fit_square(pixels, self.size, fit=self.fit), name, captions


def _new_images(
    batches: Iterator[list[tuple[Tensor, str, list[str]]]], pairs: list[tuple[int, str]]
) -> Iterator[Tensor]:
    """Batches of images that were not seen before; ``pairs`` grows by (row, caption)."""
    rows: dict[str, int] = {}
    for batch in batches:
        new = []
        for square, name, captions in batch:
            if name not in rows:
                rows[name] = len(rows)
                new.append(square)
            pairs += [(rows[name], caption) for caption in captions]
        if new:
            yield torch.stack(new)
