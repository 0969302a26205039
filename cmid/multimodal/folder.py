"""A multimodal model on disk: ``config.json``, tower and perceiver as safetensors, and folders.

``adapter/`` is peft's, ``tokenizer/`` transformers'. ``language/`` holds a language model that can
be had nowhere else; any other is named in ``config.json``, and not copied.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

import cmid
from cmid.checkpoints.strict import load_strictly
from cmid.checkpoints.weight_files import open_weights, sha256_of
from cmid.files import new_folder
from cmid.multimodal.experts import ExpertsConfig
from cmid.multimodal.language import (
    LanguageConfig,
    build_language,
    has_adapter,
    import_peft,
)
from cmid.multimodal.model import MultimodalModel
from cmid.multimodal.perceiver import Perceiver, PerceiverConfig
from cmid.multimodal.tokens import ConversationEncoder, TemplateConfig, load_tokenizer
from cmid.multimodal.tower import LevelTower

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
ADAPTER, TOKENIZER, LANGUAGE = "adapter", "tokenizer", "language"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
_FORMAT = 1


def save_model(
    model: MultimodalModel, folder: str | Path, *, provenance: Mapping[str, Any] | None = None
) -> Path:
    """Write a model as a folder, whole or not at all; an earlier one of ours is replaced.

    Args:
        provenance: plain values that ``config.json`` keeps.

    Raises:
        FileExistsError: the folder holds something else.
        NoRoomError: the disk is full.
    """
    folder = Path(folder)
    known = folder.is_dir() and (folder / CONFIG_FILE).is_file()
    language: Any = model.language
    with new_folder(folder, replace=known and "multimodal" in read_config(folder)) as new:
        if has_adapter(language):
            # The base is the one that config.json names.
            language.save_pretrained(new / ADAPTER, save_embedding_layers=False)
        if model.keeps_language:
            _save_language(language, new / LANGUAGE)
        model.encoder.tokenizer.save_pretrained(new / TOKENIZER)
        write_parts(
            new,
            model.tower,
            model.perceiver,
            about={
                "language": model.language_name,
                "dtype": model.language_dtype,
                "language_trained": model.language_trained,
                "template": asdict(model.encoder.template),
                "fit": model.fit,
                "provenance": dict(provenance or {}),
            },
        )
    return folder


def write_parts(
    folder: Path, tower: LevelTower, perceiver: Perceiver, *, about: Mapping[str, Any]
) -> None:
    """Write tower and perceiver, and ``config.json``, to a folder that is being made."""
    weights = {f"tower.{name}": w for name, w in tower.network.state_dict().items()}
    weights |= {f"perceiver.{name}": w for name, w in perceiver.state_dict().items()}
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}
    save_file(plain, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    config = {
        "multimodal": _FORMAT,
        "version": cmid.__version__,
        "tower": tower.to_plain(),
        "perceiver": asdict(perceiver.config)
        | {"widths": perceiver.widths, "out_width": perceiver.out_width},
        **about,
        "sha256": sha256_of(folder / WEIGHTS_FILE),
    }
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load(
    folder: str | Path,
    language_model: str | LanguageConfig | None = None,
    *,
    trainable: bool = False,
) -> MultimodalModel:
    """Load a model for evaluation; all weights find their places, or nothing is loaded.

    Args:
        folder: one that `save_model` or the converter of released weights wrote.
        language_model: folder, hub name or GGUF file of the language model, where it lies elsewhere
            than ``config.json`` says; with further settings as a `LanguageConfig`, of which the
            default name and dtype stand for those of ``config.json``.
        trainable: leave the weights trainable, those of the adapter too.

    Raises:
        FileNotFoundError, OSError: no such folder or language model, or a file is missing.
        ModuleNotFoundError: transformers or peft is not installed.
        ValueError: damaged, no model of ours, or another language model.
    """
    folder = Path(folder)
    config = read_config(folder)
    settings, name = _language_of(folder, config, language_model)
    encoder = load_encoder(folder, language_model)
    language = build_language(replace(settings, adapter=None), encoder.tokenizer)
    if (folder / ADAPTER).is_dir():
        language = _with_adapter(language, folder / ADAPTER, trainable=trainable)
    model = MultimodalModel(
        *_read_parts(folder, config),
        language,
        encoder,
        fit=config["fit"],
        language_name=name,
        keeps_language=(folder / LANGUAGE).is_dir(),
        language_dtype=settings.dtype,
        language_trained=config.get("language_trained", True),
    )
    return model.eval() if trainable else model.eval().requires_grad_(False)


def load_encoder(
    folder: str | Path, language_model: str | LanguageConfig | None = None
) -> ConversationEncoder:
    """What writes conversations for a model, without the model; see `load`."""
    folder = Path(folder)
    config = read_config(folder)
    settings, _ = _language_of(folder, config, language_model)
    own = folder / TOKENIZER
    spec = settings.tokenizer or (str(own) if own.is_dir() else settings.tokenizer_spec)
    return ConversationEncoder(load_tokenizer(spec), TemplateConfig(**config["template"]))


def is_model(folder: str | Path) -> bool:
    """Whether it is the folder of a multimodal model of ours."""
    return (Path(folder) / CONFIG_FILE).is_file() and "multimodal" in read_config(folder)


def read_perceiver(about: Mapping[str, Any]) -> Perceiver:
    """The perceiver that ``config.json`` tells of, its weights still to be read."""
    settings = {k: v for k, v in about.items() if k not in ("widths", "out_width")}
    if settings["experts"] is not None:
        settings["experts"] = ExpertsConfig(**settings["experts"])
    return Perceiver(PerceiverConfig(**settings), about["widths"], out_width=about["out_width"])


def read_config(folder: str | Path) -> dict[str, Any]:
    """What ``config.json`` of a folder tells.

    Raises:
        FileNotFoundError, ValueError: there is none, or it is damaged.
    """
    folder = Path(folder)
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{folder} is no multimodal model: it has no {CONFIG_FILE}")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    return config if isinstance(config, dict) else {}


def _language_of(
    folder: Path, config: Mapping[str, Any], language_model: str | LanguageConfig | None
) -> tuple[LanguageConfig, str]:
    """Where the language model of a folder is read from, and its name there."""
    if config.get("multimodal") != _FORMAT:
        raise ValueError(f"{folder} is no multimodal model of this version: see {CONFIG_FILE}")
    settings = language_model
    if not isinstance(settings, LanguageConfig):
        settings = LanguageConfig(name=settings or config["language"])
    elif settings.name == LanguageConfig.name:
        settings = replace(settings, name=config["language"])
    settings = replace(settings, dtype=settings.dtype or config.get("dtype"))
    name = settings.name
    if (folder / LANGUAGE).is_dir():
        settings = replace(settings, name=str(folder / LANGUAGE))
    return settings, name


def _read_parts(folder: Path, config: Mapping[str, Any]) -> tuple[LevelTower, Perceiver]:
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{folder} is no whole multimodal model: it has no {WEIGHTS_FILE}")
    if sha256_of(path) != config["sha256"]:
        raise ValueError(f"{path} is damaged: it is not the file of {CONFIG_FILE}")
    tower, perceiver = LevelTower.from_plain(config["tower"]), read_perceiver(config["perceiver"])
    own = {f"tower.{name}": w for name, w in tower.network.state_dict().items()}
    own |= {f"perceiver.{name}": w for name, w in perceiver.state_dict().items()}
    load_strictly(
        own,
        open_weights(path),
        refusal=lambda misfit: f"{path} holds another model: {misfit}",
    )
    return tower, perceiver


def _save_language(language: Any, folder: Path) -> None:
    """Write a language model without its adapter, if it has one."""
    base = language.get_base_model() if has_adapter(language) else language
    weights = {
        name.replace(".base_layer.", "."): tensor
        for name, tensor in base.state_dict().items()
        if ".lora_" not in name
    }
    base.save_pretrained(folder, state_dict=weights)


def _with_adapter(language: nn.Module, folder: Path, *, trainable: bool) -> nn.Module:
    """The language model with the adapter of a folder, every tensor of which finds its place."""
    peft = import_peft()
    try:
        config = peft.PeftConfig.from_pretrained(str(folder))
    except (OSError, TypeError, ValueError, LookupError) as error:
        raise ValueError(f"{folder} is no adapter of peft: {str(error)[:200]}") from error
    config.inference_mode = not trainable
    # A path of somebody else's machine.
    config.base_model_name_or_path = None
    try:
        adapted: nn.Module = peft.get_peft_model(language, config)
    except ValueError as error:
        raise ValueError(f"{folder} is an adapter of another language model: {error}") from error
    own: dict[str, Tensor] = peft.get_peft_model_state_dict(adapted, save_embedding_layers=False)
    load_strictly(
        own,
        open_weights(adapter_weights(folder)),
        refusal=lambda misfit: f"{folder} is an adapter of another language model: {misfit}",
    )
    return adapted


def adapter_weights(folder: Path) -> Path:
    """The file of weights of an adapter, in either form of peft.

    Raises:
        FileNotFoundError: there is none.
    """
    for name in (ADAPTER_WEIGHTS, "adapter_model.bin"):
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"{folder} is no adapter of peft: it has no {ADAPTER_WEIGHTS}")
