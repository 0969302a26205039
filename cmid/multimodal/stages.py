"""Stages of training: which parts learn, how fast, and what a stage changes in the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from torch import nn

from cmid.console import warn
from cmid.multimodal.experts import ExpertsConfig
from cmid.multimodal.language import AdapterConfig, add_adapter, has_adapter
from cmid.multimodal.losses import Average
from cmid.multimodal.model import MultimodalModel
from cmid.multimodal.tokens import ConversationEncoder, TemplateConfig
from cmid.multimodal.tower import LevelTower

Part = Literal["tower", "perceiver", "adapter", "language"]


@dataclass(frozen=True)
class StageConfig:
    """A stage of training.

    Attributes:
        trained: parts that learn: ``tower``, ``perceiver``, ``adapter`` and ``language``, all of
            the language model. The rest stays as it is, bit for bit.
        rates: factors of the learning rate of parts.
        average: see `cmid.multimodal.losses.answer_loss`.
        template: how conversations are written from here on; None keeps the model's.
        adapter: one for a language model that has none.
        experts: a mixture in place of the perceiver's feed-forward networks, if it has none; in
            evaluation the function is the same.
        share_prefix: conversations about one image pass the language model together and see the
            image once. Exact, and cheaper; needs a model that takes masks of pairs of tokens.
        max_length: tokens of a conversation; a longer one loses leading turns, or is left out and
            counted.
    """

    trained: tuple[Part, ...] = ("tower", "perceiver", "language")
    rates: Mapping[str, float] = field(default_factory=dict)
    average: Average = "tokens"
    template: TemplateConfig | None = None
    adapter: AdapterConfig | None = None
    experts: ExpertsConfig | None = None
    share_prefix: bool = False
    max_length: int | None = None

    def __post_init__(self) -> None:
        known = get_args(Part)
        unknown = [name for name in (*self.trained, *self.rates) if name not in known]
        if unknown or not self.trained:
            raise ValueError(
                f"stage.trained and stage.rates name {unknown or 'nothing'}: give some of"
                f" {', '.join(known)}"
            )


def part_of(name: str) -> Part:
    """The part of a model that a parameter's name belongs to."""
    start = name.partition(".")[0]
    if start == "language":
        return "adapter" if ".lora_" in name else "language"
    return "tower" if start == "tower" else "perceiver"


def begin_stage(model: MultimodalModel, stage: StageConfig) -> str:
    """Change a model as its stage says, and freeze what does not learn.

    Returns:
        A table of its parts: parameters, and how many of them learn.

    Raises:
        ValueError: an adapter is to learn, and there is none; a language model of 4 or 8 bits is to
            learn; or nothing is left to learn.
    """
    if "language" in stage.trained and getattr(model.language, "is_quantized", False):
        raise ValueError(
            "stage.trained names the language model, whose weights have 4 or 8 bits and cannot"
            " learn: name adapter, or leave language.quantise out"
        )
    if stage.adapter is not None and not has_adapter(model.language):
        model.language = add_adapter(model.language, stage.adapter)
    if stage.experts is not None and model.perceiver.config.experts is None:
        model.perceiver = model.perceiver.upcycled(stage.experts)
    if stage.template is not None:
        model.encoder = ConversationEncoder(model.encoder.tokenizer, stage.template)
    if "adapter" in stage.trained and not has_adapter(model.language):
        raise ValueError(
            "stage.trained names an adapter, and the model has none: set stage.adapter"
        )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(part_of(name) in stage.trained)
    if "tower" in stage.trained:
        _freeze_unread(model.tower)
    model.keeps_language |= "language" in stage.trained
    model.language_trained |= "language" in stage.trained
    if not model.language_trained:
        warn(
            f"the language model {model.language_name} is untrained and stays so: the others learn"
            " for random weights; add language to stage.trained, or start from a trained one"
        )
    return _table(model)


def parameter_groups(
    model: MultimodalModel, stage: StageConfig, *, weight_decay: float
) -> list[dict[str, Any]]:
    """Groups of an optimizer: of each part that learns matrices, then biases, norms and tokens.

    Args:
        weight_decay: of matrices; the others have none.
    """
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            plain = parameter.ndim < 2 or name.endswith(("queries", "pos_embed", "_token"))
            groups.setdefault((part_of(name), plain), []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": 0.0 if plain else weight_decay,
            "lr_scale": float(stage.rates.get(part, 1.0)),
        }
        for (part, plain), parameters in groups.items()
    ]


def _freeze_unread(tower: LevelTower) -> None:
    """Freeze what no level depends on: several processes would wait for its gradient."""
    mode = tower.training
    tower.eval()  # statistics of BatchNorm stay
    trained = [parameter for parameter in tower.parameters() if parameter.requires_grad]
    with torch.enable_grad():
        image = torch.zeros(1, tower.bands, tower.size, tower.size, device=trained[0].device)
        read = sum(level.tokens.sum() for level in tower(image))
        gradients = torch.autograd.grad(read, trained, allow_unused=True)
    for parameter, gradient in zip(trained, gradients, strict=True):
        parameter.requires_grad_(gradient is not None)
    tower.train(mode)


def _table(model: MultimodalModel) -> str:
    counts = {part: [0, 0] for part in get_args(Part)}
    for name, parameter in model.named_parameters():
        counts[part_of(name)][0] += parameter.numel()
        counts[part_of(name)][1] += parameter.numel() * parameter.requires_grad
    lines = [
        f"  {part}: {learned:,} of {count:,} parameters learn"
        for part, (count, learned) in counts.items()
        if count
    ]
    return "\n".join(lines)
