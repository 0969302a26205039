"""The pictures of ``tools/visualize.py``: images in, a figure out."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor
from tqdm import tqdm

from cmid.checkpoints.backbones import Backbone, load_backbone, load_reconstruction
from cmid.data.checked import CheckedSource
from cmid.data.folder import IMAGE_EXTENSIONS, ImageFolder
from cmid.data.opening import open_source
from cmid.data.source import ImageSource
from cmid.data.splits import SubsetSource
from cmid.views.crops import resize
from cmid.visualization import attention as attend
from cmid.visualization import correspondence as match
from cmid.visualization import embedding as whole
from cmid.visualization.reconstruction import reconstruct, reconstruction_figure


def draw(args: argparse.Namespace) -> Figure:
    """Make the figure that a command line asks for.

    Raises:
        ValueError, OSError, ImportError: with a one-line message.
    """
    head = None
    if args.kind == "reconstruction":
        backbone, head = load_reconstruction(args.backbone)
    else:
        backbone = load_backbone(args.backbone, img_size=args.size)
    backbone.to(args.device)
    stride = backbone.encoder.stride
    size = -(-(args.size or backbone.size) // stride) * stride
    source = _source(args.images)
    if source.num_bands != backbone.encoder.in_chans:
        raise ValueError(
            f"{args.images} has {source.num_bands} bands, {args.backbone} reads"
            f" {backbone.encoder.in_chans}"
        )
    source = CheckedSource(source, backbone.standardize.statistics)
    if args.kind in ("embedding", "neighbours"):
        return _of_set(args, backbone, source, size)
    count = 2 if args.kind == "correspondence" else args.count
    images, _ = _read(_some(source, count, args.seed), size)
    unit = backbone.standardize.to_unit(images.to(args.device)).clamp(0, 1)
    inputs = backbone.standardize(images.to(args.device))
    if head is not None:
        masked, filled, masks = reconstruct(
            backbone.encoder,
            head.to(args.device),
            inputs,
            block_size=args.block_size,
            ratio=args.mask_ratio,
            seed=args.seed,
        )
        undo = backbone.standardize.undo
        return reconstruction_figure(undo(inputs), undo(masked), undo(filled), masks)
    if args.kind == "attention":
        return attend.attention_figure(unit, _attention_maps(backbone, inputs))
    if args.kind == "pca":
        dense = match.dense_features(backbone.encoder, inputs)
        return match.components_figure(unit, match.principal_components(dense))
    return _correspondence(args, backbone, unit, inputs)


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
    args: argparse.Namespace, backbone: Backbone, unit: Tensor, inputs: Tensor
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
        (unit[0].clamp(0, 1), unit[1].clamp(0, 1)), (dense[0], dense[1]), cell=args.cell
    )


def _of_set(args: argparse.Namespace, backbone: Backbone, source: ImageSource, size: int) -> Figure:
    chosen = _some(source, args.max_images, args.seed)
    features, labels = _features(backbone, chosen, size, args.device)
    classes = list(source.classes)
    if args.kind == "embedding":
        points = whole.embed(features, method=args.method, seed=args.seed)
        title = f"{args.method} of {len(points)} images, {backbone.name}"
        return whole.embedding_figure(points, labels, classes, title=title)
    queries = np.random.default_rng(args.seed).permutation(len(chosen))[: args.count].tolist()
    index, values = whole.nearest_neighbours(features, queries, count=args.neighbours)

    def pictures(indices: list[int]) -> Tensor:
        pixels, _ = _read(SubsetSource(chosen, indices), size)
        return backbone.standardize.to_unit(pixels.to(args.device)).clamp(0, 1)

    return whole.neighbours_figure(
        pictures(queries),
        [pictures(row) for row in index.tolist()],
        values,
        query_labels=labels[queries],
        labels=labels[index.cpu()],
        classes=classes,
    )


@torch.no_grad()
def _features(
    backbone: Backbone, source: ImageSource, size: int, device: str
) -> tuple[Tensor, Tensor]:
    batches = torch.arange(len(source)).split(64)
    features, labels = [], []
    for indices in tqdm(batches, desc="features", unit="batch"):
        images, names = _read(SubsetSource(source, indices.tolist()), size)
        inputs = backbone.standardize(images.to(device))
        features.append(backbone.encoder.pooled(inputs).float())
        labels.append(names)
    return torch.cat(features), torch.cat(labels)


def _source(path: str) -> ImageSource:
    """Anything `open_source` opens, or one image file."""
    if Path(path).suffix.lower() in IMAGE_EXTENSIONS and Path(path).is_file():
        folder = ImageFolder(Path(path).parent, labels="none")
        names = [bytes(name).decode() for name in folder.paths]
        return SubsetSource(folder, [names.index(Path(path).name)])
    return open_source(path)


def _some(source: ImageSource, count: int, seed: int) -> SubsetSource:
    """Up to ``count`` images, drawn at random."""
    drawn = np.random.default_rng(seed).permutation(len(source))[:count]
    return SubsetSource(source, drawn.tolist())


def _read(source: ImageSource, size: int) -> tuple[Tensor, Tensor]:
    images = [source.read(i, min_size=(size, size)) for i in range(len(source))]
    pixels = torch.stack([resize(image.pixels, (size, size)) for image in images])
    return pixels, torch.tensor([image.label for image in images])
