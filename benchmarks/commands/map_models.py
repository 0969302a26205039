"""What tools/map.py applies to a scene: a model, the side of its tiles, and what is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from cmid.inference.products import Classes, Embeddings, Probabilities, Product, SmallEmbeddings

if TYPE_CHECKING:
    from benchmarks.commands.map import MapConfig
    from cmid.data.channel_statistics import ChannelStatistics
    from cmid.data.windows import Window
    from cmid.inference.pairs import ScenePair
    from cmid.inference.regions import Limited
    from cmid.inference.scenes import Scene
    from cmid.inference.streaming import DenseModel

    AnyScene = Scene | ScenePair | Limited

Opened = tuple[Any, int, list[Product]]


def open_model(config: MapConfig, scene: AnyScene, window: Window, device: str) -> Opened:
    """The model, the side of its tiles, and which rasters are written: none of objects.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the model does not fit the scene, or not what is asked for.
    """
    from benchmarks.classification.mapping import fine_tuned, open_fine_tuned
    from benchmarks.vision_language.mapping import is_clip

    model: Any
    if config.checkpoint is not None:
        model, size, products = _open_trained(config, device)
    elif (path := fine_tuned(config.model)) is not None:
        model = open_fine_tuned(path, backbone=config.backbone, size=config.tile, device=device)
        size, products = model.size, _of_classes(config, model.classes)
    else:
        _check_dates(config, 1)
        words = config.vocabulary or config.phrase or is_clip(config.model)
        open_it = _open_clip if words else _open_backbone
        model, size, products = open_it(config, scene, window, device)
    _check_dates(config, getattr(model, "dates", 1))
    if config.polygons and not (products and isinstance(products[0], Classes)):
        raise ValueError(f"{config.model} tells no classes of pixels, which --polygons outlines")
    if config.vectors and not (products and isinstance(products[0], Embeddings | SmallEmbeddings)):
        raise ValueError(f"{config.model} gives no embeddings, which --vectors are")
    if config.picture and not products:
        raise ValueError(f"{config.model} finds objects: --picture is of rasters")
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
    from benchmarks.openmmlab.trained import STRIDE, image_size

    settings = load_config(config.model, backbone=config.backbone)
    checkpoint, scope = Path(str(config.checkpoint)), settings.get("default_scope")
    model: Any
    if scope in ("mmdet", "mmrotate"):
        from benchmarks.detection.mapping import DetectionModel

        model = DetectionModel(settings, checkpoint, device, score_threshold=config.score_threshold)
        return model, config.tile or (image_size(settings) or 512) // STRIDE * STRIDE, []
    if scope == "mmpretrain":
        from benchmarks.classification.mapping import open_mmpretrain

        model = open_mmpretrain(settings, checkpoint, size=config.tile, device=device)
        return model, model.size, _of_classes(config, model.classes)
    from benchmarks.segmentation.mapping import SegmentationModel

    model = SegmentationModel(settings, checkpoint, device)
    # Heads that pool over the whole image know it at the size of the training.
    trained = min(settings.model.data_preprocessor.get("size") or (512,)) // STRIDE * STRIDE
    size = config.tile or max(STRIDE, trained)
    return model, size, _of_classes(config, model.classes, model.colours)


def _open_backbone(config: MapConfig, scene: AnyScene, window: Window, device: str) -> Opened:
    """Embeddings."""
    from cmid.checkpoints import load_backbone
    from cmid.inference.embeddings import EmbeddingModel
    from cmid.models.intermediates import is_plain

    backbone = load_backbone(config.model, img_size=config.tile, in_chans=len(scene.bands)).to(
        device
    )
    embedder = EmbeddingModel(backbone)
    _check_values(scene, window, backbone.standardize.statistics, config.model)
    size = config.tile or (backbone.size if is_plain(backbone.encoder.backbone) else 512)
    return embedder, size, [_embeddings(config, embedder, scene, window, size)]


def _open_clip(config: MapConfig, scene: AnyScene, window: Window, device: str) -> Opened:
    """Classes by words, similarities, or embeddings in the space of the words."""
    from benchmarks.vision_language.mapping import PatchEmbeddings, named_classes, phrases
    from cmid.vision_language.clip.storage import load_clip

    clip = load_clip(config.model).to(device)
    _check_values(scene, window, clip.image.statistics, config.model)
    if config.tile not in (None, clip.size):
        raise ValueError(f"{config.model} reads tiles of {clip.size}: leave out --tile")
    if config.vocabulary:
        model, products = named_classes(clip, config.vocabulary, templates=config.templates)
        return model, clip.size, products
    if config.phrase:
        model, products = phrases(clip, config.phrase)
        return model, clip.size, products
    cells = PatchEmbeddings(clip)
    return cells, clip.size, [_embeddings(config, cells, scene, window, clip.size)]


def _embeddings(
    config: MapConfig, model: DenseModel, scene: AnyScene, window: Window, size: int
) -> Product:
    from cmid.inference.embeddings import feature_scales

    names = tuple(f"feature {n}" for n in range(model.channels))
    if config.form == "float16":
        return Embeddings(names)
    return SmallEmbeddings(names, feature_scales(model, scene, window=window, size=size))


def _check_values(
    scene: AnyScene, window: Window, statistics: ChannelStatistics, model: str
) -> None:
    """Refuse a scene whose numbers mean something else than those that a model was trained on."""
    from cmid.data.source import Image

    _check_bands(scene, len(statistics.mean), model)
    values, _ = scene.read(window._replace(height=1, width=1))
    image = Image(torch.from_numpy(values), (1, 1), name=scene.name, kind=scene.kind)
    statistics.check(image)


def _check_dates(config: MapConfig, dates: int) -> None:
    if dates == 2 and config.second is None:
        raise ValueError(f"{config.model} compares two dates: name the other one with --second")
    if dates == 1 and config.second is not None:
        raise ValueError(f"{config.model} looks at one date: --second is for models of change")


def _check_bands(scene: AnyScene, wanted: int, model: str) -> None:
    if len(scene.bands) != wanted:
        raise ValueError(
            f"{scene.name} has {len(scene.bands)} bands, {model} reads {wanted}: choose them with"
            " --bands"
        )
