"""A CLIP as a model of maps: similarity to words at every pixel, or embeddings of its patches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from cmid.evaluation.image_text import embed_classes, embed_texts, inference, normalized
from cmid.evaluation.open_vocabulary import QuerySimilarities, Vocabulary
from cmid.inference.products import Classes, Product, Similarities
from cmid.vision_language.clip.model import CLIP
from cmid.vision_language.prompts.templates import read_templates
from cmid.vision_language.prompts.vocabularies import palette, read_vocabulary


def named_classes(
    clip: CLIP, names: Sequence[str], *, templates: str
) -> tuple[QuerySimilarities, list[Product]]:
    """The class whose name a pixel resembles most, and how much it resembles each.

    Args:
        names: a list of `read_vocabulary`; or names of two or more classes, synonyms with commas.
        templates: see `read_templates`.

    Raises:
        FileNotFoundError, ValueError: as `read_vocabulary` and `read_templates`.
    """
    known = read_vocabulary(names[0]).vocabulary if len(names) == 1 else Vocabulary.parse(names)
    queries = embed_classes(clip, known.queries, templates=read_templates(templates))
    classes, members = known.classes, known.members
    products = [Classes(classes, palette(classes), members), Similarities(classes, members)]
    return QuerySimilarities(clip, queries, fill=clip.image.statistics.mean_pixel), products


def phrases(clip: CLIP, texts: Sequence[str]) -> tuple[QuerySimilarities, list[Product]]:
    """How much each pixel resembles each text."""
    queries = embed_texts(clip, texts)
    model = QuerySimilarities(clip, queries, fill=clip.image.statistics.mean_pixel)
    return model, [Similarities(tuple(texts))]


class PatchEmbeddings:
    """Patches in the space of the texts, of length 1, see `cmid.inference.streaming.DenseModel`."""

    def __init__(self, clip: CLIP) -> None:
        self.clip = clip
        self.device = clip.logit_scale.device
        self.fill = clip.image.statistics.mean_pixel
        blank = torch.zeros(1, len(self.fill), clip.size, clip.size, device=self.device)
        with inference(clip):
            _, self.channels, cells, _ = clip.encode_images(blank).dense.shape
        self.stride = self.cell = clip.size // cells

    @property
    def digest(self) -> str:
        """Hash of what decides over its embeddings, see `CLIP`."""
        return self.clip.digest

    def __call__(self, pixels: Tensor) -> Tensor:
        return normalized(self.clip.encode_images(pixels.to(self.device)).dense)


def is_clip(model: str) -> bool:
    """Whether a name is that of a folder with a CLIP."""
    return (Path(model) / "open_clip_config.json").is_file()
