"""Embeddings of images and texts by an image-text model."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from cmid.data.source import Image, ImageSource
from cmid.data.templates import check_templates, fill_templates
from cmid.data.values import require_8bit
from cmid.evaluation.config import Fit
from cmid.files import whole_file
from cmid.models.dual_encoder import ImageTextModel
from cmid.models.evaluating import evaluating
from cmid.views.crops import resize


@contextmanager
def inference(model: object) -> Iterator[None]:
    """Evaluation without gradients, with a module's training flags put back afterwards.

    Not torch's inference mode: what a sharded module gathers meanwhile is used in training, too.
    """
    with torch.no_grad(), evaluating(*[model] if isinstance(model, nn.Module) else ()):
        yield


@contextmanager
def evaluation_mode(model: ImageTextModel) -> Iterator[torch.device]:
    """`inference` of an image-text model; gives its device."""
    with inference(model):
        yield model.logit_scale.device


def fit_square(pixels: Tensor, size: int, *, fit: Fit = "crop") -> Tensor:
    """``(3, H, W)`` to ``(3, size, size)``.

    Args:
        fit: ``crop`` brings the shorter side to ``size`` and cuts out the centre, as CLIP does;
            ``squash`` keeps the whole image and gives up its aspect ratio.
    """
    if fit == "squash":
        return resize(pixels, (size, size)).contiguous()
    height, width = pixels.shape[-2:]
    scale = size / min(height, width)
    scaled = resize(pixels, (max(size, round(height * scale)), max(size, round(width * scale))))
    top, left = (scaled.shape[-2] - size) // 2, (scaled.shape[-1] - size) // 2
    return scaled[:, top : top + size, left : left + size].contiguous()


def require_rgb(image: Image) -> Tensor:
    """Pixels of an image that an image-text model can read.

    Raises:
        ValueError: not three bands of 8 bits.
    """
    require_8bit(image.pixels, image.name, bands=3)
    return image.pixels


class _Squares(Dataset[tuple[Tensor, int]]):
    def __init__(self, source: ImageSource, size: int, fit: Fit) -> None:
        self.source, self.size, self.fit = source, size, fit

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.source.read(index, min_size=(self.size, self.size))
        return fit_square(require_rgb(image), self.size, fit=self.fit), image.label


def embed_images(
    model: ImageTextModel,
    source: ImageSource,
    *,
    fit: Fit = "crop",
    batch_size: int = 64,
    num_workers: int = 0,
    progress: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Pooled embeddings of all images of a source.

    Args:
        fit: how an image becomes a square, see `fit_square`.
        progress: title of a progress bar.

    Returns:
        ``(N, E)`` float32 of length 1 and ``(N,)`` int64 labels, on the CPU.

    Raises:
        ValueError: images that are not 8-bit RGB, embeddings that are not finite.
    """
    loader: DataLoader[Any] = DataLoader(
        _Squares(source, model.size, fit), batch_size=batch_size, num_workers=num_workers
    )
    features, labels = [], []
    with evaluation_mode(model) as device:
        for pixels, label in tqdm(loader, desc=progress, unit="batch", disable=progress is None):
            features.append(normalized(model.encode_images(pixels.to(device)).pooled).cpu())
            labels.append(label)
    return torch.cat(features), torch.cat(labels)


def embed_texts(
    model: ImageTextModel,
    texts: Sequence[str],
    *,
    cache: str | os.PathLike[str] | None = None,
    batch_size: int = 256,
    progress: str | None = None,
) -> Tensor:
    """Embeddings of texts, from the cache where they lie there.

    A cached file is named by a hash of the model's digest and of the texts. Equal texts are encoded
    once.

    Args:
        cache: folder; None encodes.
        progress: title of a progress bar.

    Returns:
        ``(N, E)`` float32 of length 1, on the CPU.

    Raises:
        ValueError: no text, or embeddings that are not finite.
    """
    unique = list(dict.fromkeys(texts))
    if not unique:
        raise ValueError("there is no text to embed")
    path = None
    if cache is not None:
        name = hashlib.sha256("\0".join([model.digest, *unique]).encode()).hexdigest()[:32]
        path = Path(cache) / f"texts-{name}.safetensors"
    if path is not None and path.is_file():
        embedded = load_file(path)["texts"]
    else:
        starts = range(0, len(unique), batch_size)
        with evaluation_mode(model):
            parts = [
                normalized(model.encode_texts(unique[start : start + batch_size])).cpu()
                for start in tqdm(starts, desc=progress, unit="batch", disable=progress is None)
            ]
        embedded = torch.cat(parts)
        if path is not None:
            _save(path, embedded)
    place = {text: row for row, text in enumerate(unique)}
    return embedded[[place[text] for text in texts]]


def embed_classes(
    model: ImageTextModel,
    names: Sequence[str],
    *,
    templates: Sequence[str],
    cache: str | os.PathLike[str] | None = None,
) -> Tensor:
    """One embedding a class: the mean over templates of normalised ones, normalised.

    Args:
        names: what is put into the templates.
        templates: texts with ``{}`` in the place of the name.

    Returns:
        ``(K, E)`` float32 of length 1, on the CPU.

    Raises:
        ValueError: no template, or one without ``{}``.
    """
    templates = check_templates(templates)
    texts = [text for name in names for text in fill_templates(templates, name)]
    embedded = embed_texts(model, texts, cache=cache)
    return F.normalize(embedded.unflatten(0, (len(names), len(templates))).mean(dim=1), dim=1)


def normalized(features: Tensor) -> Tensor:
    """``(N, E)`` features as float32 of length 1.

    Raises:
        ValueError: features that are not finite.
    """
    if not torch.isfinite(features).all():
        raise ValueError("embeddings are not finite: the weights or the precision are off")
    return F.normalize(features.float(), dim=1)


def _save(path: Path, embedded: Tensor) -> None:
    with whole_file(path) as partial:
        save_file({"texts": embedded.contiguous()}, partial)
