"""Build the scorer that training starts from, and choose what of it is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cmid.checkpoints.hugging_face import check_model
from cmid.vision_language.clip.building import import_open_clip
from cmid.vision_language.clip.config import CLIPConfig
from cmid.vision_language.clip.storage import check_clip, starting_clip
from cmid.vision_language.scoring.config import PARTS, LowRankConfig, Part, ScorerConfig
from cmid.vision_language.scoring.dual_encoder import DualEncoderScorer
from cmid.vision_language.scoring.language_model import LanguageModelScorer
from cmid.vision_language.scoring.storage import load_scorer, read_config

Scorer = DualEncoderScorer | LanguageModelScorer


def check_start(start: ScorerConfig) -> None:
    """Check that what training starts from may be there; no weight is read.

    Raises:
        FileNotFoundError: no such folder, nor a name of open_clip's or of the hub's form.
        ModuleNotFoundError: open_clip is missing, which every scorer needs.
        ValueError: the folder of something else.
    """
    import_open_clip()
    if start.scorer is not None:
        read_config(Path(start.scorer))
    elif start.language_model is not None:
        check_model(start.language_model)
    elif start.clip is not None:
        check_clip(start.clip)


def starting_scorer(start: ScorerConfig) -> Scorer:
    """The scorer that training starts from; raises what `load_clip` and `load_scorer` do."""
    dtype = getattr(torch, start.dtype)
    if start.scorer is not None:
        scorer: Scorer = load_scorer(start.scorer, dtype=dtype).train()
    elif start.clip is not None:
        name, _, weights = start.clip.partition(":")
        shape: dict[str, Any] = {"hidden": start.hidden, "fit": start.fit}
        clip = starting_clip(CLIPConfig(name, weights or None))
        scorer = DualEncoderScorer(clip, patches=start.patches, **shape)
    else:
        assert start.language_model is not None
        scorer = LanguageModelScorer.from_pretrained(start.language_model, dtype=dtype)
    if start.max_pixels is not None and isinstance(scorer, LanguageModelScorer):
        images = scorer.processor.image_processor
        smallest = images.size["shortest_edge"]  # these are areas, whatever they are called
        images.size = {"shortest_edge": smallest, "longest_edge": start.max_pixels}
        images.max_pixels = start.max_pixels
    return scorer


def choose_trained(
    scorer: Scorer, trained: Sequence[Part], lora: LowRankConfig
) -> dict[str, list[str]]:
    """Freeze all but the parts to train; with a rank, train adapters in place of the towers.

    Returns:
        names of the parameters to train, by part.

    Raises:
        ModuleNotFoundError: adapters without peft.
        ValueError: nothing to train, or an unknown part.
    """
    if not trained or set(trained) - set(PARTS):
        raise ValueError(f"model.trained {[*trained]}: name some of {', '.join(PARTS)}")
    towers = scorer.towers()
    of_trunk = {id(parameter) for parameter in scorer.trunk.parameters()}
    head = [parameter for parameter in scorer.parameters() if id(parameter) not in of_trunk]
    scorer.requires_grad_(False)
    if lora.rank:
        add_adapters(scorer, [m for name in trained if name != "head" for m in towers[name]], lora)
    chosen: dict[str, list[str]] = {}
    for part in trained:
        parameters = head if part == "head" else [p for m in towers[part] for p in m.parameters()]
        if not lora.rank or part == "head":
            for parameter in parameters:
                parameter.requires_grad_(True)
        own = {id(parameter) for parameter in parameters if parameter.requires_grad}
        chosen[part] = [name for name, p in scorer.named_parameters() if id(p) in own]
    return chosen


def add_adapters(scorer: Scorer, towers: Sequence[nn.Module], lora: LowRankConfig) -> None:
    """Give the linear layers of some towers adapters, and let nothing else be trained.

    Weights that torch's own attention reads directly, past their layer, are left as they are.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("model.lora needs peft: pip install 'cmid[scoring]'") from error
    inside = {id(module) for tower in towers for module in tower.modules()}
    attention = [m for m in scorer.trunk.modules() if isinstance(m, nn.MultiheadAttention)]
    inside -= {id(module) for block in attention for module in block.modules()}
    names = [
        name
        for name, module in scorer.trunk.named_modules()
        if isinstance(module, nn.Linear) and id(module) in inside
    ]
    if not names:
        raise ValueError(
            "model.lora needs a tower to train: add vision or language to model.trained"
        )
    settings = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]
        lora_dropout=lora.dropout,
        target_modules=names,
    )
    inject_adapter_in_model(settings, scorer.trunk)


def merge_adapters(scorer: Scorer) -> None:
    """Add adapters to the weights that they adapt, and take them out."""
    for name, module in [*scorer.named_modules()]:
        if hasattr(module, "get_base_layer") and hasattr(module, "merge"):
            module.merge()
            parent, _, own = name.rpartition(".")
            setattr(scorer.get_submodule(parent), own, module.get_base_layer())
