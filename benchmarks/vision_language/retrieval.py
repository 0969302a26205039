"""Retrieval between images and captions: what it needs, and how it scores a model."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.vision_language.caption_sets import open_captions
from benchmarks.vision_language.data import SCENES, scene_texts
from benchmarks.vision_language.outcome import Options, Outcome
from cmid.evaluation.image_text import Fit
from cmid.evaluation.image_text_retrieval import PREFIX, Identity, image_text_retrieval
from cmid.models.dual_encoder import ImageTextModel
from cmid.vision_language.data import ImageTextSource
from cmid.vision_language.data.problems import OnError


@dataclass(frozen=True)
class Retrieval:
    """Retrieval between images and captions.

    Attributes:
        data: a file of captions that `cmid.vision_language.data` reads, or ``scenes``.
        images: folder that its paths start from; None: the file's own.
        split, caption_column, protocol, on_error: of `open_captions`.
        prefix: before each caption.
        identity, fit: of `image_text_retrieval`.
    """

    data: str
    images: str | None = None
    split: str | None = None
    caption_column: str | None = None
    protocol: str | None = None
    on_error: OnError = "error"
    prefix: str = PREFIX
    identity: Identity = "name"
    fit: Fit = "crop"
    task: str = "image-text retrieval"

    def needs(self) -> list[str]:
        return [p for p in (self.data, self.images) if p is not None and p != SCENES]

    def run(self, model: ImageTextModel, name: str, options: Options) -> Outcome:
        if self.data == SCENES:
            source: ImageTextSource = scene_texts(options, model.size)
            chosen = ""
        else:
            opened = open_captions(
                self.data,
                images=self.images,
                split=self.split,
                caption_column=self.caption_column,
                protocol=self.protocol,
                on_error=self.on_error,
            )
            source, chosen = opened.source, f"{opened.facts}; "
        scores = image_text_retrieval(
            model,
            source,
            prefix=self.prefix,
            identity=self.identity,
            fit=self.fit,
            cache=options.cache,
            batch_size=options.batch_size,
            num_workers=options.num_workers,
            progress=f"{name}: {self.task}, {self.data}",
        )
        facts = (
            f"{chosen}{scores.images} images and {scores.texts} captions"
            f" ({scores.repeated_images} repeated images and {scores.repeated_texts} repeated"
            f" captions taken once), prefix {self.prefix!r}"
        )
        return Outcome(
            {_shown(key): value for key, value in scores.recalls.items()},
            facts,
            chance={_shown(key): value for key, value in scores.chance.items()},
        )


def _shown(measure: str) -> str:
    """``image_to_text@5`` to ``image to text R@5``."""
    return measure.replace("_", " ").replace("@", " R@")
