"""Towers by name: open_clip's models with their weights, and exported backbones."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from cmid.checkpoints import Backbone, load_backbone
from cmid.data.statistics import ChannelStatistics
from cmid.models.encoder import MaskedEncoder
from cmid.vision_language.clip.config import DEFAULT_DENSE_MODE, CLIPConfig
from cmid.vision_language.clip.image_towers import (
    ImageTower,
    OpenCLIPResNet,
    OpenCLIPTransformer,
    TimmTower,
)
from cmid.vision_language.clip.model import CLIP, SIGLIP_LOGIT_BIAS, SIGLIP_LOGIT_SCALE
from cmid.vision_language.clip.text_tower import TextTower, freeze_kept_positions, lengthen

_NO_TOWER = {"image_size": 32, "patch_size": 32, "layers": 1, "width": 64}


def import_open_clip() -> ModuleType:
    """open_clip, or the error that says how to get it."""
    try:
        import open_clip
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "vision-language models need open_clip: pip install 'cmid[vision-language]'"
        ) from error
    return open_clip


def build_clip(parameters: CLIPConfig = CLIPConfig(), *, sigmoid: bool = False) -> CLIP:
    """Build a CLIP as the parameters say.

    Args:
        sigmoid: it is to be trained with SigLIP's loss, and needs a bias.

    Raises:
        FileNotFoundError: a JSON, weights or backbone that is not there.
        ModuleNotFoundError: open_clip is not installed.
        ValueError: unknown name or tag, or a tower without the read-outs that are asked for.
    """
    open_clip = import_open_clip()
    name, config = _model_config(parameters.name)
    if parameters.weights is None:
        if parameters.backbone is not None:
            # open_clip would build its own image tower, only to be thrown away.
            config = config | {"vision_cfg": _NO_TOWER}
        model = open_clip.CustomTextCLIP(**_arguments(config, parameters.image_size))
    else:
        model, config = _with_weights(name, config, parameters)
    text = TextTower(model.text, _tokenizer(config))
    backbone = None if parameters.backbone is None else load_backbone(parameters.backbone)
    image = _image_tower(model, config, backbone, parameters)
    origin: dict[str, Any] = {"dense_mode": image.dense_mode}
    if backbone is not None:
        encoder = backbone.encoder
        origin["trunk"] = {
            "name": encoder.name,
            "model_args": {"img_size": encoder.img_size} | encoder.model_args,
            "size": image.size,
        }
        config = config | {"vision_cfg": _vision_cfg(encoder, image.size)}
    elif parameters.image_size is not None:
        config = config | {"vision_cfg": config["vision_cfg"] | {"image_size": image.size}}
    if parameters.context_length not in (None, text.context_length):
        lengthen(text.module, int(parameters.context_length or 0))
        length = {"context_length": text.context_length}
        config = config | {"text_cfg": config["text_cfg"] | length}
        origin["lengthened"] = True
    scale, bias = _similarity(model, config, parameters, sigmoid=sigmoid)
    return CLIP(image, text, logit_scale=scale, logit_bias=bias, model_cfg=config, origin=origin)


def rebuild(model_cfg: Mapping[str, Any], origin: Mapping[str, Any], *, bias: bool) -> CLIP:
    """An untrained CLIP of the architecture that a folder or a checkpoint describes."""
    open_clip = import_open_clip()
    config = dict(model_cfg)
    trunk = origin.get("trunk")
    own = {} if trunk is None else {"vision_cfg": _NO_TOWER}
    model = open_clip.CustomTextCLIP(**_arguments(config | own, None))
    text = TextTower(model.text, _tokenizer(config))
    if origin.get("lengthened"):
        freeze_kept_positions(text.module)
    about = {
        "statistics": ChannelStatistics.from_mapping(origin["statistics"]),
        "dense_mode": origin["dense_mode"],
    }
    if trunk is not None:
        encoder = MaskedEncoder(trunk["name"], **trunk["model_args"])
        image: ImageTower = _timm_tower(encoder, config, about | {"size": trunk["size"]})
    else:
        image = _open_clip_tower(model.visual, config, about)
    return CLIP(image, text, logit_bias=0.0 if bias else None, model_cfg=config, origin=origin)


def _model_config(name: str) -> tuple[str, dict[str, Any]]:
    open_clip = import_open_clip()
    if name.endswith(".json"):
        path = Path(name)
        if not path.is_file():
            raise FileNotFoundError(f"no model configuration {name}")
        open_clip.add_model_config(path)
        name = path.stem
    config = open_clip.get_model_config(name)
    if config is None:
        near = difflib.get_close_matches(name, open_clip.list_models(), n=3, cutoff=0.4)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise ValueError(f"open_clip has no model {name!r}{hint}")
    return name, dict(config)


def _arguments(config: Mapping[str, Any], image_size: int | None) -> dict[str, Any]:
    kept = ("embed_dim", "vision_cfg", "text_cfg", "quick_gelu")
    kept += ("init_logit_scale", "init_logit_bias")  # type: ignore[assignment]
    arguments = {key: config[key] for key in kept if key in config}
    if image_size is not None:
        arguments["vision_cfg"] = arguments["vision_cfg"] | {"image_size": image_size}
    return arguments


def _with_weights(
    name: str, config: dict[str, Any], parameters: CLIPConfig
) -> tuple[Any, dict[str, Any]]:
    open_clip = import_open_clip()
    weights = str(parameters.weights)
    if Path(weights).suffix and not Path(weights).is_file():
        raise FileNotFoundError(f"no weights {weights}")
    known = open_clip.list_pretrained_tags_by_model(name)
    if not Path(weights).is_file() and weights not in known:
        raise ValueError(
            f"open_clip has no weights {weights!r} for {name}: give a file, or one of"
            f" {', '.join(known) or 'none'}"
        )
    model = open_clip.create_model(
        name,
        pretrained=weights,
        force_custom_text=True,
        force_image_size=parameters.image_size,
        weights_only=True,
    )
    # The activation follows from the tag, not from the name.
    quick = any(isinstance(m, open_clip.transformer.QuickGELU) for m in model.modules())
    return model, config | {"quick_gelu": quick}


def _tokenizer(config: Mapping[str, Any]) -> Any:
    open_clip = import_open_clip()
    text = config["text_cfg"]
    if text.get("hf_tokenizer_name"):
        return open_clip.tokenizer.HFTokenizer(
            text["hf_tokenizer_name"], **text.get("tokenizer_kwargs", {})
        )
    if text.get("tokenizer_kwargs"):
        return open_clip.tokenizer.SimpleTokenizer(**text["tokenizer_kwargs"])
    return _tokenizer_of_clip()


@functools.cache
def _tokenizer_of_clip() -> Any:
    """Reading its vocabulary takes longer than to build a small tower: once is enough."""
    return import_open_clip().tokenizer.SimpleTokenizer()


def _similarity(
    model: Any, config: Mapping[str, Any], parameters: CLIPConfig, *, sigmoid: bool
) -> tuple[float, float | None]:
    """Logarithm of the scale of similarities, and their bias: given, trained, or SigLIP's start."""
    scale = model.logit_scale.item()
    bias = None if model.logit_bias is None else model.logit_bias.item()
    trained = parameters.weights is not None and bias is not None
    if not trained and (sigmoid or bias is not None or parameters.logit_bias is not None):
        # A scale that a softmax was trained with says nothing about pairs judged one by one.
        scale = SIGLIP_LOGIT_SCALE
        if parameters.weights is None:
            scale = config.get("init_logit_scale", scale)
        bias = SIGLIP_LOGIT_BIAS if bias is None else bias
    if parameters.logit_scale is not None:
        scale = parameters.logit_scale
    return scale, bias if parameters.logit_bias is None else parameters.logit_bias


def _image_tower(
    model: Any, config: dict[str, Any], backbone: Backbone | None, parameters: CLIPConfig
) -> ImageTower:
    about: dict[str, Any] = {"dense_mode": parameters.dense_mode or DEFAULT_DENSE_MODE}
    if backbone is None:
        open_clip = import_open_clip()
        known = getattr(model.visual, "preprocess_cfg", None) or {}
        about["statistics"] = ChannelStatistics.from_mapping(
            {
                "mean": known.get("mean", open_clip.OPENAI_DATASET_MEAN),
                "std": known.get("std", open_clip.OPENAI_DATASET_STD),
            }
        )
        return _open_clip_tower(model.visual, config, about)
    backbone.encoder.requires_grad_(True).train()
    about["statistics"] = backbone.standardize.statistics
    if parameters.image_size is not None:
        about["size"] = parameters.image_size
    return _timm_tower(backbone.encoder, config, about)


def _open_clip_tower(visual: Any, config: Mapping[str, Any], about: dict[str, Any]) -> ImageTower:
    from open_clip.modified_resnet import ModifiedResNet
    from open_clip.timm_model import TimmModel
    from open_clip.transformer import VisionTransformer

    if isinstance(visual, VisionTransformer):
        return OpenCLIPTransformer(visual, **about)
    if isinstance(visual, ModifiedResNet):
        return OpenCLIPResNet(visual, **about)
    if isinstance(visual, TimmModel):
        return TimmTower(
            visual.trunk,
            visual.head,
            size=visual.image_size[0],
            in_chans=3,
            embed_dim=config["embed_dim"],
            **about,
        )
    raise ValueError(f"an image tower of type {type(visual).__name__} has no dense read-out here")


def _timm_tower(
    encoder: MaskedEncoder, config: Mapping[str, Any], about: dict[str, Any]
) -> TimmTower:
    width = config["embed_dim"]
    head = nn.Sequential()
    head.add_module("drop", nn.Dropout(0.0))
    head.add_module("proj", nn.Linear(encoder.pooled_dim, width, bias=False))
    size = {"size": encoder.img_size}
    return TimmTower(
        encoder.backbone, head, in_chans=encoder.in_chans, embed_dim=width, **(size | about)
    )


def _vision_cfg(encoder: MaskedEncoder, size: int) -> dict[str, Any]:
    return {
        "timm_model_name": encoder.name.partition(".")[0],
        "timm_model_pretrained": False,
        "timm_pool": "avg",
        "timm_proj": "linear",
        "image_size": size,
    }
