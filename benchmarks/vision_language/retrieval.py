"""Retrieval between images and captions."""

from __future__ import annotations

from benchmarks.vision_language.caption_sets import open_captions
from benchmarks.vision_language.data import scene_texts
from benchmarks.vision_language.outcome import EvaluationConfig, Outcome
from benchmarks.vision_language.tasks import SCENES, Retrieval
from cmid.evaluation.image_text_retrieval import image_text_retrieval
from cmid.models.dual_encoder import ImageTextModel
from cmid.vision_language.data import ImageTextSource


def score_retrieval(
    asked: Retrieval, model: ImageTextModel, name: str, options: EvaluationConfig
) -> Outcome:
    if asked.data == SCENES:
        source: ImageTextSource = scene_texts(options, model.size)
        chosen = ""
    else:
        opened = open_captions(
            asked.data,
            images=asked.images,
            split=asked.split,
            caption_column=asked.caption_column,
            protocol=asked.protocol,
            on_error=asked.on_error,
        )
        source, chosen = opened.source, f"{opened.facts}; "
    scores = image_text_retrieval(
        model,
        source,
        prefix=asked.prefix,
        identity=asked.identity,
        fit=asked.fit,
        cache=options.cache,
        batch_size=options.batch_size,
        num_workers=options.num_workers,
        progress=f"{name}: {asked.task}, {asked.data}",
    )
    facts = (
        f"{chosen}{scores.images} images and {scores.texts} captions"
        f" ({scores.repeated_images} repeated images and {scores.repeated_texts} repeated"
        f" captions taken once), prefix {asked.prefix!r}"
    )
    return Outcome(
        {_shown(key): value for key, value in scores.recalls.items()},
        facts,
        chance={_shown(key): value for key, value in scores.chance.items()},
    )


def _shown(measure: str) -> str:
    """``image_to_text@5`` to ``image to text R@5``."""
    return measure.replace("_", " ").replace("@", " R@")
