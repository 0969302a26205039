"""The four evaluations, each of one data set: what it needs, and how it scores a model."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.vision_language.data import (
    SCENE_SEED,
    SCENES,
    SceneMasks,
    SourceRegions,
    open_coco,
    open_labelled,
    open_masks,
    scene_texts,
)
from benchmarks.vision_language.mmseg_masks import open_dataset
from benchmarks.vision_language.outcome import Options, Outcome, file_name
from benchmarks.vision_language.painting import MapPainter
from benchmarks.vision_language.retrieval import Retrieval
from cmid.data.scenes import INSTANCE_CATEGORIES, SEMANTIC_CLASSES, SceneSource
from cmid.data.source import ImageSource
from cmid.evaluation.image_text import Fit, embed_classes
from cmid.evaluation.open_vocabulary import Sliding
from cmid.evaluation.region_classification import classify_regions
from cmid.evaluation.segmentation_scores import MaskedImages, evaluate_segmentation
from cmid.evaluation.zero_shot import zero_shot_classification
from cmid.models.dual_encoder import ImageTextModel
from cmid.vision_language.data import ImageTextSource
from cmid.vision_language.data.problems import OnError
from cmid.vision_language.prompts.class_names import named_classes
from cmid.vision_language.prompts.templates import read_templates
from cmid.vision_language.prompts.vocabularies import ClassList, read_vocabulary
from cmid.vision_language.regions import pool_regions

__all__ = ["SCENES", "Regions", "Retrieval", "Segmentation", "ZeroShot"]

CONFIGURATION = ".py"  # how the name of a configuration of mmsegmentation ends


@dataclass(frozen=True)
class ZeroShot:
    """Zero-shot classification of labelled images.

    Attributes:
        data: what `open_labelled` opens, or ``scenes``.
        names: of `named_classes`; templates: of `read_templates`.
        split_file, split: of `open_labelled`.
        fit: of `cmid.evaluation.image_text.fit_square`.
    """

    data: str
    names: str | None = None
    templates: str = "satellite"
    split_file: str | None = None
    split: str = "test"
    fit: Fit = "crop"
    task: str = "zero-shot classification"

    def needs(self) -> list[str]:
        return [p for p in (self.data, self.split_file) if p is not None and p != SCENES]

    def run(self, model: ImageTextModel, name: str, options: Options) -> Outcome:
        if self.data == SCENES:
            size = options.scene_size or model.size
            source: ImageSource = SceneSource(options.scenes, size=size, seed=SCENE_SEED)
        else:
            source = open_labelled(self.data, split_file=self.split_file, split=self.split)
        scores = zero_shot_classification(
            model,
            source,
            names=named_classes(source.classes, self.names),
            templates=read_templates(self.templates),
            cache=options.cache,
            fit=self.fit,
            batch_size=options.batch_size,
            num_workers=options.num_workers,
            progress=f"{name}: {self.task}, {self.data}",
        )
        count = len(scores.per_class)
        measures = {"top-1": scores.top1, "top-5": scores.top5, "mean class": scores.mean_class}
        chance = {"top-1": 1 / count, "top-5": min(1, 5 / count), "mean class": 1 / count}
        facts = f"{scores.images} images, {count} classes, templates {self.templates}"
        return Outcome(measures, facts, ("accuracy", scores.per_class), chance)


@dataclass(frozen=True)
class Segmentation:
    """Open-vocabulary segmentation.

    Attributes:
        data: folder with ``img_dir`` and ``ann_dir``, a configuration of mmsegmentation (``.py``),
            or ``scenes``.
        vocabulary, background: of `read_vocabulary`; without a vocabulary a configuration's dataset
            gives its own names.
        templates: of `read_templates`.
        part: sub-folder of both folders; of a configuration ``train``, ``val`` or ``test``.
        zero_ignored: of `read_vocabulary`; a configuration knows it itself.
        foreground: stored label of class 1 of two, such as 255; a configuration knows it itself.
        settings: of the sliding windows.
        threshold: below which a pixel is background.

    Raises:
        ValueError: no vocabulary, and no configuration.
    """

    data: str
    vocabulary: str | None = None
    background: str | None = None
    templates: str = "imagenet"
    part: str | None = None
    zero_ignored: bool = False
    foreground: int | None = None
    settings: Sliding = field(default_factory=Sliding)
    threshold: float = 0.0
    task: str = "open-vocabulary segmentation"

    def __post_init__(self) -> None:
        if self.vocabulary is None and not self.data.endswith(CONFIGURATION):
            raise ValueError(f"{self.data} needs names of its classes: give --vocabulary")

    def needs(self) -> list[str]:
        return [] if self.data == SCENES else [self.data]

    def run(self, model: ImageTextModel, name: str, options: Options) -> Outcome:
        data, classes = self._open(options, model.size)
        vocabulary, settings = classes.vocabulary, self.settings
        if self.threshold > 0 and vocabulary.background is None:
            raise ValueError("--threshold needs the class of unsure pixels: give --background")
        if self.data == SCENES:
            # A whole scene has the scale that it was trained at.
            settings = replace(
                settings, long_side=settings.long_side or options.scene_size or model.size
            )
        painter = None
        if options.out is not None and options.pictures > 0:
            folder = options.out / "pictures" / file_name(self.data)
            painter = MapPainter(
                folder,
                prefix=file_name(name),
                classes=vocabulary.classes,
                total=len(data),
                limit=options.pictures,
            )
        templates = read_templates(self.templates)
        scores = evaluate_segmentation(
            model,
            data,
            queries=embed_classes(
                model, vocabulary.queries, templates=templates, cache=options.cache
            ),
            vocabulary=vocabulary,
            settings=settings,
            threshold=self.threshold,
            paint=painter,
            progress=f"{name}: {self.task}, {self.data}",
        )
        measures = {"mIoU": scores.mean_iou, "pixel accuracy": scores.accuracy}
        facts = f"{scores.images} images, {len(vocabulary.queries)} names of"
        facts += f" {len(vocabulary.classes)} classes, templates {self.templates},"
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

    def _open(self, options: Options, size: int) -> tuple[MaskedImages, ClassList]:
        listed = None
        if self.vocabulary is not None:
            listed = read_vocabulary(
                self.vocabulary, background=self.background, zero_ignored=self.zero_ignored
            )
        if self.data.endswith(CONFIGURATION):
            dataset = open_dataset(self.data, part=self.part)
            classes = listed or replace(dataset.classes, background=self.background)
            expected, given = len(dataset.classes.lines), len(classes.lines)
            if expected != given:
                raise ValueError(f"{self.data} has {expected} classes, {self.vocabulary} {given}")
            return dataset, classes
        assert listed is not None  # __post_init__ asks for it
        if self.data == SCENES:
            expected, given = len(SEMANTIC_CLASSES), len(listed.lines)
            if given != expected:
                raise ValueError(
                    f"generated scenes have {expected} classes, {self.vocabulary} {given}: give"
                    " --vocabulary scenes"
                )
            return SceneMasks(options.scenes, size=options.scene_size or size), listed
        masks = open_masks(self.data, listed, part=self.part, foreground=self.foreground)
        return masks, listed


@dataclass(frozen=True)
class Regions:
    """Classification of boxes.

    Attributes:
        data: a JSON file of COCO's form, or ``scenes``.
        images: folder that its file names start from; None: one of the file's name without ending.
        templates: of `read_templates`.
        on_error: what a faulty image or box does: ``error`` or ``skip`` (counted, reported).
    """

    data: str
    images: str | None = None
    templates: str = "satellite"
    on_error: OnError = "error"
    task: str = "region classification"

    def needs(self) -> list[str]:
        return [] if self.data == SCENES else [self.data, self._folder()]

    def _folder(self) -> str:
        return self.images or str(Path(self.data).with_suffix(""))

    def run(self, model: ImageTextModel, name: str, options: Options) -> Outcome:
        left_out: dict[str, int] = {}
        if self.data == SCENES:
            source: ImageTextSource = scene_texts(options, model.size)
            names = [*INSTANCE_CATEGORIES]
        else:
            boxes, names = open_coco(self.data, self._folder(), on_error=self.on_error)
            source, left_out = boxes, boxes.left_out
            left_out |= {"faulty entries": len(boxes.skipped)} if boxes.skipped else {}
        scores = classify_regions(
            model,
            SourceRegions(source, names),
            names=names,
            templates=read_templates(self.templates),
            pool=pool_regions,
            cache=options.cache,
            batch_size=options.batch_size,
            progress=f"{name}: {self.task}, {self.data}",
        )
        measures: dict[str, float] = {}
        per_class: dict[str, float] = {}
        for kind, title in (("crop", "CLS of crop"), ("roi", "RoI pooling")):
            score = scores[kind]
            measures[f"accuracy, {title}"] = score.accuracy
            measures[f"mean class accuracy, {title}"] = score.mean_class_accuracy
            measures[f"mAP, {title}"] = score.mean_average_precision
            per_class |= {f"{label}, {title}": v for label, v in score.per_class.items()}
        crop = scores["crop"]
        left_out |= {"boxes outside of their image": crop.left_out} if crop.left_out else {}
        facts = f"{crop.regions} regions of {len(names)} classes, templates {self.templates}"
        facts += "".join(f"; left out: {count} {reason}" for reason, count in left_out.items())
        occurring = sum(not math.isnan(value) for value in crop.per_class.values())
        guess = {key: 1 / len(names) for key in measures if "mean class" in key}
        guess |= {key: 1 / occurring for key in measures if "mAP" in key}
        return Outcome(measures, facts, ("accuracy", per_class), guess)


def _described(settings: Sliding, size: int) -> str:
    long_side, stride = settings.long_side or 2 * size, settings.stride or max(1, size // 2)
    scale = "the model's scale" if settings.scale is None else f"scale {settings.scale:g}"
    weight = f", CLS weight {settings.cls_weight:g}" if settings.cls_weight else ""
    resized = "" if settings.antialias else " (bilinear without antialiasing)"
    return f"long side {long_side}{resized}, windows of {size} at stride {stride}, {scale}{weight}"
