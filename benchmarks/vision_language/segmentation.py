"""Open-vocabulary segmentation."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.vision_language.data import SceneMasks
from benchmarks.vision_language.mmseg_masks import open_dataset
from benchmarks.vision_language.outcome import EvaluationConfig, Outcome, file_name
from benchmarks.vision_language.painting import MapPainter
from benchmarks.vision_language.tasks import CONFIGURATION, SCENES, Segmentation
from cmid.data.scenes import SEMANTIC_CLASSES
from cmid.data.segmentation import SegmentationFolder
from cmid.evaluation.config import SlidingConfig
from cmid.evaluation.image_text import embed_classes
from cmid.evaluation.segmentation_scores import MaskedImages, evaluate_segmentation
from cmid.models.dual_encoder import ImageTextModel
from cmid.vision_language.prompts.templates import read_templates
from cmid.vision_language.prompts.vocabularies import ClassList, read_vocabulary


def score_segmentation(
    asked: Segmentation, model: ImageTextModel, name: str, options: EvaluationConfig
) -> Outcome:
    data, classes = _open(asked, options, model.size)
    vocabulary, settings = (
        classes.vocabulary,
        replace(asked.settings, batch_size=options.batch_size),
    )
    if asked.threshold > 0 and vocabulary.background is None:
        raise ValueError("--threshold needs the class of unsure pixels: give --background")
    if asked.data == SCENES:
        # A whole scene has the scale that it was trained at.
        settings = replace(
            settings, long_side=settings.long_side or options.scene_size or model.size
        )
    painter = None
    if options.out is not None and options.pictures > 0:
        folder = options.out / "pictures" / file_name(asked.data)
        painter = MapPainter(
            folder,
            prefix=file_name(name),
            classes=vocabulary.classes,
            total=len(data),
            limit=options.pictures,
        )
    templates = read_templates(asked.templates)
    scores = evaluate_segmentation(
        model,
        data,
        queries=embed_classes(model, vocabulary.queries, templates=templates, cache=options.cache),
        vocabulary=vocabulary,
        settings=settings,
        threshold=asked.threshold,
        paint=painter,
        progress=f"{name}: {asked.task}, {asked.data}",
    )
    measures = {"mIoU": scores.mean_iou, "pixel accuracy": scores.accuracy}
    facts = f"{scores.images} images, {len(vocabulary.queries)} names of"
    facts += f" {len(vocabulary.classes)} classes, templates {asked.templates},"
    facts += f" {_described(settings, model.size)}"
    if scores.tuned is not None:
        tuned = scores.tuned
        measures["mIoU, held-out half"] = tuned.untuned
        measures["mIoU, held-out half, tuned threshold"] = tuned.tuned
        facts += (
            f"; threshold {tuned.threshold} tuned on {tuned.tuning_images} images, held out:"
            f" {tuned.test_images}"
        )
    pictures = () if painter is None else tuple(painter.paths)
    return Outcome(measures, facts, ("IoU", scores.per_class), pictures=pictures)


def _open(
    asked: Segmentation, options: EvaluationConfig, size: int
) -> tuple[MaskedImages, ClassList]:
    listed = None
    if asked.vocabulary is not None:
        listed = read_vocabulary(
            asked.vocabulary, background=asked.background, zero_ignored=asked.zero_ignored
        )
    if asked.data.endswith(CONFIGURATION):
        dataset = open_dataset(asked.data, part=asked.part)
        classes = listed or replace(dataset.classes, background=asked.background)
        expected, given = len(dataset.classes.lines), len(classes.lines)
        if expected != given:
            raise ValueError(f"{asked.data} has {expected} classes, {asked.vocabulary} {given}")
        return dataset, classes
    assert listed is not None  # __post_init__ asks for it
    if asked.data == SCENES:
        expected, given = len(SEMANTIC_CLASSES), len(listed.lines)
        if given != expected:
            raise ValueError(
                f"generated scenes have {expected} classes, {asked.vocabulary} {given}: give"
                " --vocabulary scenes"
            )
        return SceneMasks(options.scenes, size=options.scene_size or size), listed
    masks = SegmentationFolder(
        asked.data,
        num_classes=len(listed.lines),
        part=asked.part,
        zero_ignored=listed.zero_ignored,
        foreground=asked.foreground,
    )
    return masks, listed


def _described(settings: SlidingConfig, size: int) -> str:
    long_side, stride = settings.long_side or 2 * size, settings.stride or max(1, size // 2)
    scale = "the model's scale" if settings.scale is None else f"scale {settings.scale:g}"
    weight = f", CLS weight {settings.cls_weight:g}" if settings.cls_weight else ""
    resized = "" if settings.antialias else " (bilinear without antialiasing)"
    return f"long side {long_side}{resized}, windows of {size} at stride {stride}, {scale}{weight}"
