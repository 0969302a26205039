"""Scorers on disk: folders of safetensors and a config.json, and the released ScoreRS."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from cmid.checkpoints.strict import load_strictly
from cmid.checkpoints.weight_files import open_weights, sha256_of
from cmid.files import scratch_folder, whole_file
from cmid.vision_language.clip.storage import load_clip, save_clip
from cmid.vision_language.scoring.dual_encoder import DualEncoderScorer
from cmid.vision_language.scoring.language_model import (
    LanguageModelScorer,
    import_transformers,
    read_processor,
)

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
_CLIP_FOLDER = "clip"
_RELEASED_HEAD = "reward_head.weight"


def save_scorer(scorer: DualEncoderScorer | LanguageModelScorer, folder: str | Path) -> Path:
    """Write a scorer as a folder, each file whole or not at all; an earlier one is replaced.

    Of a `DualEncoderScorer` the CLIP is a folder of its own within, which open_clip can load.
    """
    folder = Path(folder)
    if isinstance(scorer, DualEncoderScorer):
        save_clip(scorer.clip, folder / _CLIP_FOLDER)
        about: dict[str, Any] = {"scorer": "dual_encoder"}
        about |= {"hidden": scorer.hidden, "fit": scorer.fit}
        about["patches"] = scorer.fusion is not None
        config: dict[str, Any] = {}
        weights = _own_weights(scorer)
    else:
        _save_processor(scorer.processor, folder)
        about = {"scorer": "language_model"}
        model: Any = scorer.model
        config = json.loads(model.config.to_json_string(use_diff=False))
        weights = scorer.state_dict()
    weights = {k: v.detach().cpu().contiguous().clone() for k, v in weights.items()}
    with whole_file(folder / CONFIG_FILE) as partial, whole_file(folder / WEIGHTS_FILE) as scratch:
        save_file(weights, scratch, metadata={"format": "pt"})
        about["sha256"] = sha256_of(scratch)
        partial.write_text(json.dumps(config | {"cmid": about}, indent=2) + "\n")
    return folder


def load_scorer(
    folder: str | Path, *, dtype: torch.dtype | None = None
) -> DualEncoderScorer | LanguageModelScorer:
    """Load a scorer for evaluation; all weights find their places, or nothing is loaded.

    Args:
        folder: one that `save_scorer` wrote, or a released ScoreRS: ``config.json`` of Qwen2-VL,
            weights ``visual.*``, ``model.*`` and ``reward_head.weight`` in one safetensors file or
            several with their index, and the files of the processor.
        dtype: floating type of a language model; None takes the one that its configuration names.
            The head is float32 in any case.

    Raises:
        FileNotFoundError: no such folder, or a file of it is missing.
        ModuleNotFoundError: the extra vision-language is not installed.
        ValueError: damaged, or no scorer.
    """
    folder = Path(folder)
    config = read_config(folder)
    about = config.get("cmid", {})
    if about and sha256_of(_weights_of(folder)) != about.get("sha256"):
        raise ValueError(f"{_weights_of(folder)} is damaged: it is not the file of {CONFIG_FILE}")
    scorer: DualEncoderScorer | LanguageModelScorer
    if about.get("scorer") == "dual_encoder":
        clip = load_clip(folder / _CLIP_FOLDER)
        shape = {name: about[name] for name in ("hidden", "fit", "patches")}
        scorer = DualEncoderScorer(clip, **shape)
        own = _own_weights(scorer)
        weights = open_weights(_weights_of(folder))
    else:
        weights = open_weights(_weights_of(folder))
        if not about:
            weights = _from_released(weights, folder)
        scorer = _build_language_model(folder, dtype)
        own = scorer.state_dict()
    load_strictly(own, weights, refusal=lambda misfit: f"{folder} holds another scorer: {misfit}")
    return scorer.eval().requires_grad_(False)


def _own_weights(scorer: DualEncoderScorer) -> dict[str, Tensor]:
    """All but the CLIP's."""
    return {k: v for k, v in scorer.state_dict().items() if not k.startswith("clip.")}


def read_config(folder: Path) -> dict[str, Any]:
    """What ``config.json`` of a scorer tells.

    Raises:
        FileNotFoundError, ValueError: there is none, or it is damaged.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{folder} is no scorer: it has no {CONFIG_FILE}")
    try:
        config = json.loads(path.read_text())
        kind = config.get("cmid", {}).get("scorer", "language_model")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: it is no JSON object ({error})") from error
    if kind not in ("dual_encoder", "language_model"):
        raise ValueError(f"{path} names a scorer {kind!r}, which this version does not know")
    return config


def _weights_of(folder: Path) -> Path:
    index = folder / f"{WEIGHTS_FILE}.index.json"
    whole = folder / WEIGHTS_FILE
    if not whole.is_file() and not index.is_file():
        raise FileNotFoundError(f"{folder} is no scorer: it has no {WEIGHTS_FILE}, nor its index")
    return whole if whole.is_file() else index


def _from_released(weights: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The published names of weights to ours."""
    if _RELEASED_HEAD not in weights:
        raise ValueError(
            f"{folder} is no scorer: its weights have no {_RELEASED_HEAD}; for a new head on this"
            " model use LanguageModelScorer.from_pretrained"
        )
    renamed = {}
    for name, tensor in weights.items():
        if name == _RELEASED_HEAD:
            name = "head.weight"
        elif name.startswith("model."):
            name = "model.language_model." + name.removeprefix("model.")
        elif name.startswith("visual."):
            name = f"model.{name}"
        renamed[name] = tensor
    return renamed


def _build_language_model(folder: Path, dtype: torch.dtype | None) -> LanguageModelScorer:
    """A scorer of a folder's architecture, its weights still to be read."""
    transformers = import_transformers()
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        processor = read_processor(str(folder), local_files_only=True)
    except (OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{folder} lacks files of a model or its processor: {reason}") from error
    # Seven billion random numbers would take minutes, only to be replaced.
    with transformers.modeling_utils.no_init_weights():
        model: nn.Module = transformers.AutoModel.from_config(
            config, dtype=dtype or config.dtype or torch.float32
        )
    return LanguageModelScorer(model, processor)


def _save_processor(processor: Any, folder: Path) -> None:
    with scratch_folder(folder / "processor") as scratch:
        processor.save_pretrained(scratch)
        for file in sorted(scratch.iterdir()):
            os.replace(file, folder / file.name)
