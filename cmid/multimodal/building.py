"""A new multimodal model from its configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from cmid.multimodal.images import Fit
from cmid.multimodal.language import LanguageConfig, build_language
from cmid.multimodal.model import MultimodalModel
from cmid.multimodal.perceiver import Perceiver, PerceiverConfig
from cmid.multimodal.tokens import ConversationEncoder, TemplateConfig, load_tokenizer
from cmid.multimodal.tower import TowerConfig, build_tower

SMALL_PERCEIVER = PerceiverConfig(
    queries=(32, 16, 4), width=128, heads=4, layers=2, positions="keys_and_values"
)


@dataclass(frozen=True)
class MultimodalConfig:
    """A multimodal model; the defaults are a small one, all of it untrained.

    Attributes:
        tower: where the image tower comes from.
        perceiver: kind and size.
        language: where the language model comes from.
        template: how conversations are written.
        fit: how an image becomes a square: ``squash``, ``crop`` or ``pad``.
        seed: random seed of the perceiver.
    """

    tower: TowerConfig = field(default_factory=lambda: TowerConfig(size=64))
    perceiver: PerceiverConfig = field(default_factory=lambda: SMALL_PERCEIVER)
    language: LanguageConfig = field(default_factory=LanguageConfig)
    template: TemplateConfig = field(default_factory=TemplateConfig)
    fit: Fit = "squash"
    seed: int = 0


def build_model(
    config: MultimodalConfig | None = None, *, texts: Sequence[str] | None = None
) -> MultimodalModel:
    """A new model in evaluation mode.

    Args:
        texts: what a tokenizer ``bpe:N`` learns from.

    Raises:
        FileNotFoundError, ModuleNotFoundError, OSError, ValueError: as `build_tower`,
            `load_tokenizer` and `build_language`.
    """
    config = config or MultimodalConfig()
    tower = build_tower(config.tower)
    tokenizer = load_tokenizer(config.language.tokenizer_spec, texts=texts)
    language: Any = build_language(config.language, tokenizer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        perceiver = Perceiver(
            config.perceiver,
            tower.widths,
            out_width=language.get_input_embeddings().embedding_dim,
        )
    encoder = ConversationEncoder(tokenizer, config.template)
    return MultimodalModel(
        tower,
        perceiver,
        language,
        encoder,
        fit=config.fit,
        language_name=config.language.name,
        keeps_language=config.language.is_untrained,
        language_dtype=config.language.dtype,
        language_trained=not config.language.is_untrained,
    ).eval()
