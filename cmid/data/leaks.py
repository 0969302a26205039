"""Images of test sets among training images: copies that were cropped, turned or encoded again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from cmid.data.perceptual_hash import (
    SHARES,
    correlation,
    grey_canvas,
    orientations,
    perceptual_hash,
    turned,
    window_hashes,
)
from cmid.data.source import ImageSource

# The mean of the similarity of hashes and of the correlation of details. None of 319,200 pairs of
# different images (UC Merced, EuroSAT) reached the first; copies of 80 % of a side do, but for one
# in a hundred of 256 pixels and one in ten of 64 pixels (JPEG of quality 70).
COPY = 0.75
COPY_OF_NEIGHBOUR = 0.65  # where it is the nearest neighbour of the embeddings, too
NEIGHBOUR = 0.9  # cosine of embeddings
_CANDIDATE = 0.7  # similarity of hashes; pixels decide
_MOST_CANDIDATES = 4  # that are looked at for the best twin, or that are none behind the last twin
_AT_ONCE = 1024


@dataclass(frozen=True)
class Leak:
    """A training image that is also in a test set.

    Attributes:
        index: number of the training image.
        test_set, name: where its twin is. place: number of the twin among all test images.
        similarity: at most 1; see `COPY`.
    """

    index: int
    test_set: str
    name: str
    place: int
    similarity: float

    def __str__(self) -> str:
        return f"{self.test_set}: {self.name} ({self.similarity:.2f})"


class TestImages:
    """The images of test sets, as 17 kB each, to look for among any number of training images.

    Args:
        sets: by name.
        embeddings: ``(N, E)`` of length 1 of all images in order, where those of training images
            are known, too: the nearest neighbour is looked at even if the hashes differ.

    Raises:
        UnreadableImageError: a test image cannot be decoded.
    """

    __test__ = False  # no test of pytest

    def __init__(self, sets: Mapping[str, ImageSource], embeddings: Tensor | None = None) -> None:
        self.names: list[tuple[str, str]] = []
        canvases = []
        for set_name, source in sets.items():
            for index in tqdm(range(len(source)), desc=f"test set {set_name}", unit="image"):
                image = source.read(index, min_size=(128, 128))
                self.names.append((set_name, image.name))
                canvases.append(grey_canvas(image.pixels))
        if not canvases:
            raise ValueError("there is no test image to look for")
        self.canvases = torch.stack(canvases)
        self.hashes = torch.stack([window_hashes(canvas) for canvas in canvases])
        self.embeddings = embeddings

    def __len__(self) -> int:
        return len(self.names)

    @property
    def digest(self) -> str:
        """Hash of all that a comparison depends on."""
        digest = hashlib.sha256(repr(self.names).encode())
        for tensor in (self.canvases, self.embeddings):
            digest.update(b"" if tensor is None else tensor.numpy().tobytes())
        return digest.hexdigest()

    def leaks(
        self,
        canvases: Tensor,
        embeddings: Tensor | None = None,
        *,
        start: int = 0,
        all_twins: bool = False,
    ) -> list[Leak]:
        """Those of some training images that are copies of test images, with the best twin.

        Args:
            canvases: ``(B, 64, 64)`` of `grey_canvas`.
            embeddings: ``(B, E)`` of length 1. They know what an image shows, not which one it is:
                a neighbour is a copy only if its pixels say so.
            start: number of the first image.
            all_twins: every twin, not the best alone.
        """
        hashes = perceptual_hash(canvases)
        alike = self._alike(hashes)  # (B, N)
        near = torch.zeros_like(alike, dtype=torch.bool)
        if embeddings is not None and self.embeddings is not None:
            cosines, nearest = (embeddings @ self.embeddings.T).max(dim=1)
            near[torch.arange(len(near)), nearest] = cosines >= NEIGHBOUR
        found = []
        candidates = alike.masked_fill(~(near | (alike >= _CANDIDATE)), -1)
        most = int((candidates > -1).sum(dim=1).max())
        values, order = candidates.topk(most if all_twins else min(_MOST_CANDIDATES, most), dim=1)
        for row in (candidates > -1).any(dim=1).nonzero()[:, 0].tolist():
            places = order[row][values[row] > -1].tolist()
            twins = [
                Leak(start + row, *self.names[place], place, similarity)
                for place, similarity in self._twins(canvases[row], hashes[row], places, near[row])
            ]
            twins.sort(key=lambda leak: -leak.similarity)
            found += twins if all_twins else twins[:1]
        return found

    def _twins(
        self, canvas: Tensor, own: Tensor, places: Sequence[int], near: Tensor
    ) -> Iterator[tuple[int, float]]:
        """Copies among candidates, the most alike first; the rest is passed over after some others.

        Any number of copies of an image may be in a test set.
        """
        others = 0
        for place in places:
            similarity = self._compare(canvas, own, place)
            if similarity >= (COPY_OF_NEIGHBOUR if near[place] else COPY):
                others = 0
                yield place, similarity
            elif (others := others + 1) == _MOST_CANDIDATES:
                return

    def _alike(self, hashes: Tensor) -> Tensor:
        """Similarity of hashes, whatever flip, turn or crop: ``(B, 63)`` to ``(B, N)``."""
        every = orientations(hashes).flatten(0, 1)  # (8 B, 63)
        parts = []
        for windows in self.hashes.split(_AT_ONCE):
            products = every @ windows.flatten(0, 1).T
            best = products.unflatten(1, windows.shape[:2]).amax(dim=2)
            parts.append(best.unflatten(0, (-1, 8)).amax(dim=1))
        return torch.cat(parts, dim=1)

    def _compare(self, canvas: Tensor, own: Tensor, place: int) -> float:
        products = orientations(own) @ self.hashes[place].T  # (8, windows)
        orientation, window = divmod(int(products.argmax()), products.shape[1])
        part = turned(canvas, orientation)
        fit = correlation(self.canvases[place], part, float(SHARES[window]))
        return (float(products.max()) + fit) / 2


def find_leaks(
    source: ImageSource,
    test_sets: Mapping[str, ImageSource],
    *,
    embeddings: tuple[Tensor, Tensor] | None = None,
    all_twins: bool = False,
    batch_size: int = 64,
) -> list[Leak]:
    """Training images that are also in test sets; for pretraining data, too.

    Args:
        source: what to train on.
        test_sets: by name.
        embeddings: ``(M, E)`` of all images of the source and ``(N, E)`` of all test images in
            order, of length 1, where they are known.
        all_twins: see `TestImages.leaks`.

    Raises:
        UnreadableImageError: an image cannot be decoded.

    Example:
        ``find_leaks(open_source("train"), {"aid": open_source("aid/test")})``
    """
    own, others = embeddings or (None, None)
    tests = TestImages(test_sets, others)
    found: list[Leak] = []
    starts = range(0, len(source), batch_size)
    for start in tqdm(starts, desc="looking for test images", unit="batch"):
        stop = min(start + batch_size, len(source))
        images = [source.read(index, min_size=(128, 128)) for index in range(start, stop)]
        canvases = torch.stack([grey_canvas(image.pixels) for image in images])
        part = None if own is None else own[start:stop]
        found += tests.leaks(canvases, part, start=start, all_twins=all_twins)
    return found
