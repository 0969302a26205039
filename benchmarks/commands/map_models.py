"""What tools/map.py applies to a scene: a model, the side of its tiles, and what is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from cmid.inference.products import Classes, Embeddings, Probabilities, Product, SmallEmbeddings

if TYPE_CHECKING:
    from benchmarks.commands.map import MapConfig
    from cmid.data.windows import Window
    from cmid.inference.pairs import ScenePair
    from cmid.inference.scenes import Scene

Opened = tuple[Any, int, list[Product]]


def open_model(config: MapConfig, scene: Scene | ScenePair, window: Window, device: str) -> Opened:
    """The model, the side of its tiles, and which rasters are written: none of objects.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the model does not fit the scene, or not what is asked for.
    """
    from benchmarks.classification.mapping import fine_tuned, open_fine_tuned

    model: Any
    if config.checkpoint is not None:
        model, size, products = _open_trained(config, device)
    elif (path := fine_tuned(config.model)) is not None:
        model = open_fine_tuned(path, backbone=config.backbone, size=config.tile, device=device)
        size, products = model.size, _of_classes(config, model.classes)
    else:
        _check_dates(config, 1)
        model, size, products = _open_backbone(config, scene, window, device)
    _check_dates(config, getattr(model, "dates", 1))
    if config.polygons and not (products and isinstance(products[0], Classes)):
        raise ValueError(f"{config.model} tells no classes of pixels, which --polygons outlines")
    _check_bands(scene, len(model.fill), config.model)
    return model, size, products


def _of_classes(
    config: MapConfig,
    classes: tuple[str, ...],
    colours: Sequence[tuple[int, int, int]] | None = None,
) -> list[Product]:
    return [Classes(classes, colours), *[Probabilities(classes)] * config.probabilities]


def _open_trained(config: MapConfig, device: str) -> Opened:
    """A configuration of OpenMMLab with its checkpoint."""
    from benchmarks.openmmlab.experiment import load_config
    from benchmarks.openmmlab.trained import image_size

    settings = load_config(config.model, backbone=config.backbone)
    checkpoint, scope = Path(str(config.checkpoint)), settings.get("default_scope")
    model: Any
    if scope in ("mmdet", "mmrotate"):
        from benchmarks.detection.mapping import DetectionModel

        model = DetectionModel(settings, checkpoint, device, score_threshold=config.score_threshold)
        return model, config.tile or image_size(settings) or 512, []
    if scope == "mmpretrain":
        from benchmarks.classification.mapping import open_mmpretrain

        model = open_mmpretrain(settings, checkpoint, size=config.tile, device=device)
        return model, model.size, _of_classes(config, model.classes)
    from benchmarks.segmentation.mapping import SegmentationModel

    model = SegmentationModel(settings, checkpoint, device)
    return model, config.tile or 512, _of_classes(config, model.classes, model.colours)


def _open_backbone(
    config: MapConfig, scene: Scene | ScenePair, window: Window, device: str
) -> Opened:
    """Embeddings."""
    from cmid.checkpoints import load_backbone
    from cmid.data.source import Image
    from cmid.inference.embeddings import EmbeddingModel, feature_scales
    from cmid.models.intermediates import is_plain

    backbone = load_backbone(config.model, img_size=config.tile, in_chans=len(scene.bands)).to(
        device
    )
    embedder = EmbeddingModel(backbone)
    _check_bands(scene, len(embedder.fill), config.model)
    values, _ = scene.read(window._replace(height=1, width=1))
    backbone.standardize.statistics.check(
        Image(torch.from_numpy(values), (1, 1), name=scene.name, kind=scene.kind)
    )
    size = config.tile or (backbone.size if is_plain(backbone.encoder.backbone) else 512)
    names = tuple(f"feature {n}" for n in range(embedder.channels))
    if config.form == "float16":
        return embedder, size, [Embeddings(names)]
    scales = feature_scales(embedder, scene, window=window, size=size)
    return embedder, size, [SmallEmbeddings(names, scales)]


def _check_dates(config: MapConfig, dates: int) -> None:
    if dates == 2 and config.second is None:
        raise ValueError(f"{config.model} compares two dates: name the other one with --second")
    if dates == 1 and config.second is not None:
        raise ValueError(f"{config.model} looks at one date: --second is for models of change")


def _check_bands(scene: Scene | ScenePair, wanted: int, model: str) -> None:
    if len(scene.bands) != wanted:
        raise ValueError(
            f"{scene.name} has {len(scene.bands)} bands, {model} reads {wanted}: choose them with"
            " --bands"
        )
