"""Features on disk, so that a backbone runs over a data set once."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cmid.checkpoints.backbones import Backbone
from cmid.data.source import ImageSource
from cmid.evaluation.features import PooledFeatures, extract_features
from cmid.evaluation.identity import fingerprint
from cmid.files import whole_file


def cached_features(
    backbone: Backbone,
    source: ImageSource,
    *,
    folder: str | os.PathLike[str] | None,
    key: str,
    size: int,
    model: nn.Module | None = None,
    precision: torch.dtype = torch.float32,
    rank: int = 0,
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """Pooled features and labels of a source, from the cache where they lie there.

    A cached file is named by a hash of the backbone's weights and standardisation, the size, the
    precision, ``key`` and the source (`fingerprint`): options, labels, and names, sizes and times
    of change of its files, so that edited images are read anew.

    Args:
        folder: cache folder; None reads the images.
        key: what the source is, for sources that are not image files (their own description).
        model: what makes features of the backbone other than pooled ones; ``key`` names it, too.
        size, precision, rank, **options: see `extract_features`.

    Returns:
        ``(N, D)`` float32 and ``(N,)`` int64, on the CPU.
    """
    path = None
    if folder is not None:
        name = f"{backbone.digest} {size} {precision} {key} {fingerprint(source)}"
        path = Path(folder) / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.safetensors"
        if path.is_file():
            stored = load_file(path)
            return stored["features"], stored["labels"]
    features, labels = extract_features(
        model or PooledFeatures(backbone.encoder),
        source,
        standardize=backbone.standardize,
        size=size,
        precision=precision,
        rank=rank,
        progress=f"{backbone.name}: {key}",
        **options,
    )
    features, labels = features.cpu(), labels.cpu()
    if path is not None and rank == 0:
        with whole_file(path) as partial:
            save_file({"features": features.contiguous(), "labels": labels.contiguous()}, partial)
    return features, labels
