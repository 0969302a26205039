"""Classification by names: of whole images, and of boxes."""

from __future__ import annotations

import math

from benchmarks.vision_language.data import (
    SCENE_SEED,
    SourceRegions,
    open_coco,
    open_labelled,
    scene_texts,
)
from benchmarks.vision_language.outcome import EvaluationConfig, Outcome
from benchmarks.vision_language.tasks import SCENES, Regions, ZeroShot
from cmid.data.scenes import INSTANCE_CATEGORIES, SceneSource
from cmid.data.source import ImageSource
from cmid.evaluation.region_classification import classify_regions
from cmid.evaluation.zero_shot import zero_shot_classification
from cmid.models.dual_encoder import ImageTextModel
from cmid.vision_language.data import ImageTextSource
from cmid.vision_language.prompts.class_names import named_classes
from cmid.vision_language.prompts.templates import read_templates
from cmid.vision_language.regions import pool_regions


def score_zero_shot(
    asked: ZeroShot, model: ImageTextModel, name: str, options: EvaluationConfig
) -> Outcome:
    if asked.data == SCENES:
        size = options.scene_size or model.size
        source: ImageSource = SceneSource(options.scenes, size=size, seed=SCENE_SEED)
    else:
        source = open_labelled(asked.data, split_file=asked.split_file, split=asked.split)
    scores = zero_shot_classification(
        model,
        source,
        names=named_classes(source.classes, asked.names),
        templates=read_templates(asked.templates),
        cache=options.cache,
        fit=asked.fit,
        batch_size=options.batch_size,
        num_workers=options.num_workers,
        progress=f"{name}: {asked.task}, {asked.data}",
    )
    count = len(scores.per_class)
    measures = {"top-1": scores.top1, "top-5": scores.top5, "mean class": scores.mean_class}
    chance = {"top-1": 1 / count, "top-5": min(1, 5 / count), "mean class": 1 / count}
    facts = f"{scores.images} images, {count} classes, templates {asked.templates}"
    return Outcome(measures, facts, ("accuracy", scores.per_class), chance)


def score_regions(
    asked: Regions, model: ImageTextModel, name: str, options: EvaluationConfig
) -> Outcome:
    left_out: dict[str, int] = {}
    if asked.data == SCENES:
        source: ImageTextSource = scene_texts(options, model.size)
        names = [*INSTANCE_CATEGORIES]
    else:
        boxes, names = open_coco(asked.data, asked.folder, on_error=asked.on_error)
        source, left_out = boxes, boxes.left_out
        left_out |= {"faulty entries": len(boxes.skipped)} if boxes.skipped else {}
    scores = classify_regions(
        model,
        SourceRegions(source, names),
        names=names,
        templates=read_templates(asked.templates),
        pool=pool_regions,
        cache=options.cache,
        batch_size=options.batch_size,
        progress=f"{name}: {asked.task}, {asked.data}",
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
    facts = f"{crop.regions} regions of {len(names)} classes, templates {asked.templates}"
    facts += "".join(f"; left out: {count} {reason}" for reason, count in left_out.items())
    occurring = sum(not math.isnan(value) for value in crop.per_class.values())
    guess = {key: 1 / len(names) for key in measures if "mean class" in key}
    guess |= {key: 1 / occurring for key in measures if "mAP" in key}
    return Outcome(measures, facts, ("accuracy", per_class), guess)
