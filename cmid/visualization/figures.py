"""Figures of what a backbone has learned: images in, a figure out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from cmid.checkpoints.backbones import Backbone, load_backbone, load_reconstruction
from cmid.data.checked import CheckedSource
from cmid.data.folder import IMAGE_EXTENSIONS, ImageFolder, ImageList
from cmid.data.opening import open_source
from cmid.data.raster_paths import RASTER_EXTENSIONS
from cmid.data.source import ImageSource
from cmid.data.splits import SubsetSource
from cmid.evaluation.features import PooledFeatures, extract_features
from cmid.views.crops import resize
from cmid.visualization import attention as attend
from cmid.visualization import correspondence as match
from cmid.visualization import embedding as whole
from cmid.visualization.config import FigureConfig
from cmid.visualization.reconstruction import reconstruct, reconstruction_figure


def draw(config: FigureConfig) -> Figure:
    """Make a figure.

    Raises:
        ValueError, OSError, ImportError: with a one-line message.
    """
    head = None
    if config.kind == "reconstruction":
        backbone, head = load_reconstruction(config.backbone)
    else:
        backbone = load_backbone(config.backbone, img_size=config.size)
    backbone.to(config.device)
    stride = backbone.encoder.stride
    size = -(-(config.size or backbone.size) // stride) * stride
    source = _source(config.images, config.bands, config.sensor)
    if source.num_bands != backbone.encoder.in_chans:
        read = "is read as" if config.bands is None and config.sensor is None else "has"
        raise ValueError(
            f"{config.images} {read} {source.num_bands} bands, {config.backbone} reads"
            f" {backbone.encoder.in_chans}: choose those of rasters with --bands"
        )
    source = CheckedSource(source, backbone.standardize.statistics)
    if config.kind in ("embedding", "neighbours"):
        return _of_set(config, backbone, source, size)
    count = 2 if config.kind == "correspondence" else config.count
    images = _read(_some(source, count, config.seed), size)
    unit = backbone.standardize.to_unit(images.to(config.device)).clamp(0, 1)
    inputs = backbone.standardize(images.to(config.device))
    if head is not None:
        masked, filled, masks = reconstruct(
            backbone.encoder,
            head.to(config.device),
            inputs,
            block_size=config.block_size,
            ratio=config.mask_ratio,
            seed=config.seed,
        )
        undo = backbone.standardize.undo
        return reconstruction_figure(undo(inputs), undo(masked), undo(filled), masks)
    if config.kind == "attention":
        return attend.attention_figure(unit, _attention_maps(backbone, inputs))
    if config.kind == "pca":
        dense = match.dense_features(backbone.encoder, inputs)
        return match.components_figure(unit, match.principal_components(dense))
    return _correspondence(config, backbone, unit, inputs)


def _attention_maps(backbone: Backbone, inputs: Tensor) -> dict[str, Tensor]:
    """Rollout and heads of transformers; the saliency of the embedding for all."""
    maps = {"saliency": attend.embedding_saliency(backbone.encoder, inputs)}
    try:
        heads = attend.attention_of_last_block(backbone.encoder, inputs)
    except ValueError:  # a CNN
        return maps
    maps["rollout"] = attend.attention_rollout(backbone.encoder, inputs)
    return maps | {f"head {i + 1}": heads[:, i] for i in range(min(heads.shape[1], 6))}


def _correspondence(
    config: FigureConfig, backbone: Backbone, unit: Tensor, inputs: Tensor
) -> Figure:
    if len(unit) == 1:  # two overlapping crops of the one image
        side = unit.shape[-1] * 3 // 4
        crops = [(slice(0, side), slice(0, side)), (slice(-side, None), slice(-side, None))]
        size = tuple(unit.shape[-2:])
        unit, inputs = (
            torch.cat(
                [
                    torch.nn.functional.interpolate(x[..., r, c], size, mode="bicubic")
                    for r, c in crops
                ]
            )
            for x in (unit, inputs)
        )
    dense = match.dense_features(backbone.encoder, inputs)
    return match.correspondence_figure(
        (unit[0].clamp(0, 1), unit[1].clamp(0, 1)), (dense[0], dense[1]), cell=config.cell
    )


def _of_set(config: FigureConfig, backbone: Backbone, source: ImageSource, size: int) -> Figure:
    chosen = _some(source, config.max_images, config.seed)
    features, labels = extract_features(
        PooledFeatures(backbone.encoder),
        chosen,
        standardize=backbone.standardize,
        size=size,
        batch_size=64,
        progress="features",
    )
    labels = labels.cpu()
    classes = list(source.classes)
    if config.kind == "embedding":
        points = whole.embed(features, method=config.method, seed=config.seed)
        title = f"{config.method} of {len(points)} images, {backbone.name}"
        return whole.embedding_figure(points, labels, classes, title=title)
    queries = np.random.default_rng(config.seed).permutation(len(chosen))[: config.count].tolist()
    index, values = whole.nearest_neighbours(features, queries, count=config.neighbours)

    def pictures(indices: list[int]) -> Tensor:
        pixels = _read(SubsetSource(chosen, indices), size)
        return backbone.standardize.to_unit(pixels.to(config.device)).clamp(0, 1)

    return whole.neighbours_figure(
        pictures(queries),
        [pictures(row) for row in index.tolist()],
        values,
        query_labels=labels[queries],
        labels=labels[index.cpu()],
        classes=classes,
    )


def _source(
    path: str, bands: Sequence[int | str] | None = None, sensor: str | None = None
) -> ImageSource:
    """Anything `open_source` opens, or one image file; with bands or a sensor rasters as images."""
    form: dict[str, Any] = {"bands": bands, "sensor": sensor}
    rasters = bands is not None or sensor is not None
    endings = RASTER_EXTENSIONS if rasters else IMAGE_EXTENSIONS
    if Path(path).suffix.lower() in endings and Path(path).is_file():
        folder = ImageFolder(Path(path).parent, labels="none", **form)
        names = [bytes(name).decode() for name in folder.paths]
        return SubsetSource(folder, [names.index(Path(path).name)])
    if not rasters:
        return open_source(path)
    if Path(path).is_dir():
        return ImageFolder(path, **form)
    if Path(path).suffix.lower() in (".txt", ".csv"):
        return ImageList(path, **form)
    raise ValueError(f"{path}: --bands and --sensor are of rasters, folders and lists of them")


def _some(source: ImageSource, count: int, seed: int) -> SubsetSource:
    """Up to ``count`` images, drawn at random."""
    drawn = np.random.default_rng(seed).permutation(len(source))[:count]
    return SubsetSource(source, drawn.tolist())


def _read(source: ImageSource, size: int) -> Tensor:
    images = (source.read(i, min_size=(size, size)) for i in range(len(source)))
    return torch.stack([resize(image.pixels, (size, size)) for image in images])
