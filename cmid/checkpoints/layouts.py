"""Key layouts of published networks, renamed to timm's.

Each function takes a state dict whose prefix is gone, and returns timm's names; what it cannot name
stays as it is, so that the caller can say so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor

from cmid.checkpoints.openmmlab_names import NAME_MAPS, Weights, from_openmmlab_names

# OpenMMLab's names of ResNet are torchvision's.
_OPENMMLAB = ("openmmlab swin", "mmseg vit", "mmpretrain vit", "openmmlab convnext")

# An nn.Sequential of torchvision's ResNet without its classifier.
_SEQUENTIAL = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}


# Of each layout a name that only it has.
MARKS = {
    "sequential resnet": "4.0.conv1.weight",
    "resnet": "layer1.0.conv1.weight",
    "swin": "layers.0.blocks.0.attn.qkv.weight",
    "vit": "blocks.0.attn.qkv.weight",
    "convnext": "stages.0.blocks.0.conv_dw.weight",
} | {layout: NAME_MAPS[layout].mark for layout in _OPENMMLAB}


def sequential_resnet(weights: Mapping[str, Tensor]) -> Weights:
    """Numbered children (SeCo) to torchvision's names, which are timm's."""
    renamed = {}
    for name, tensor in weights.items():
        child, _, rest = name.partition(".")
        renamed[f"{_SEQUENTIAL.get(child, child)}.{rest}"] = tensor
    return renamed


def swin(weights: Mapping[str, Tensor]) -> Weights:
    """The original Swin to timm's, where merging opens a stage, not closes the one before."""
    closing = any(name.startswith("layers.0.downsample.") for name in weights)
    renamed = {}
    for name, tensor in weights.items():
        merging = re.match(r"layers\.(\d+)\.downsample\.(.+)", name)
        if merging and closing:
            name = f"layers.{int(merging[1]) + 1}.downsample.{merging[2]}"
        renamed[name] = tensor
    return renamed


def vit(weights: Mapping[str, Tensor]) -> Weights:
    """timm's ViT; fine-tuned MAE keeps its last norm as ``fc_norm``, behind the pooling.

    DINOv2's registers have no position: that of the class token is added to it, as timm does.
    """
    renamed = {name.replace("register_tokens", "reg_token"): w for name, w in weights.items()}
    if "reg_token" in renamed and {"cls_token", "pos_embed"} <= renamed.keys():
        position = renamed["pos_embed"]
        if round((position.shape[1] - 1) ** 0.5) ** 2 == position.shape[1] - 1:
            renamed["cls_token"] = renamed["cls_token"] + position[:, :1]
            renamed["pos_embed"] = position[:, 1:]
    if "norm.weight" in renamed:
        return renamed
    return {re.sub(r"^fc_norm\.", "norm.", name): tensor for name, tensor in renamed.items()}


LAYOUTS: dict[str, Callable[[Mapping[str, Tensor]], Weights]] = {
    "sequential resnet": sequential_resnet,
    "resnet": dict,
    "swin": swin,
    "vit": vit,
    "convnext": dict,
    **{layout: partial(from_openmmlab_names, layout=layout) for layout in _OPENMMLAB},
}


def find_architecture(
    weights: Mapping[str, Tensor], *, by_shape: bool = True
) -> tuple[str, dict[str, Any]]:
    """timm's name and further arguments, from names and shapes of weights in timm's layout.

    Args:
        by_shape: False leaves the name empty, for weights whose architecture was named.

    Raises:
        ValueError: none of the architectures that we know, or a weight that shows it is missing.
    """
    if "layer1.0.conv1.weight" in weights:
        name, args, first = _resnet, _no_args, "conv1.weight"
    elif "layers.0.blocks.0.attn.qkv.weight" in weights:
        name, args, first = _swin, _swin_args, "patch_embed.proj.weight"
    elif "stages.0.blocks.0.conv_dw.weight" in weights:
        name, args, first = _convnext, _no_args, "stem.0.weight"
    else:
        name, args, first = _vit, _vit_args, "patch_embed.proj.weight"
    filters = _weight(weights, first)  # (D, bands, p, p)
    if filters.ndim != 4:
        raise ValueError(f"{first} of {tuple(filters.shape)} is not a convolution of images")
    found_args = {"in_chans": filters.shape[1]} | args(weights)
    return name(weights) if by_shape else "", found_args


def _no_args(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    return {}


def _weight(weights: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in weights:
        raise ValueError(f"{name} is missing, which shows what network it is")
    return weights[name]


def _resnet(weights: Mapping[str, Tensor]) -> str:
    depths = tuple(_count(weights, rf"layer{stage}\.(\d+)\.") for stage in range(1, 5))
    bottleneck = "layer1.0.conv3.weight" in weights
    names = {
        (False, (2, 2, 2, 2)): "resnet18",
        (False, (3, 4, 6, 3)): "resnet34",
        (True, (3, 4, 6, 3)): "resnet50",
        (True, (3, 4, 23, 3)): "resnet101",
        (True, (3, 8, 36, 3)): "resnet152",
    }
    return _known(names, (bottleneck, depths), f"a ResNet of {depths} blocks")


def _swin(weights: Mapping[str, Tensor]) -> str:
    width = len(weights["patch_embed.proj.weight"])
    depths = tuple(_count(weights, rf"layers\.{stage}\.blocks\.(\d+)\.") for stage in range(4))
    names = {
        (96, (2, 2, 6, 2)): "swin_tiny_patch4_window7_224",
        (96, (2, 2, 18, 2)): "swin_small_patch4_window7_224",
        (128, (2, 2, 18, 2)): "swin_base_patch4_window7_224",
        (192, (2, 2, 18, 2)): "swin_large_patch4_window7_224",
    }
    return _known(names, (width, depths), f"a Swin of width {width} and {depths} blocks")


def _swin_args(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    if "layers.0.blocks.0.attn.cpb_mlp.0.weight" in weights:
        raise ValueError("Swin-V2 is not read; build it with timm, which loads its weights")
    table = _weight(weights, "layers.0.blocks.0.attn.relative_position_bias_table")
    window = (round(len(table) ** 0.5) + 1) // 2
    # The smallest size whose last stage is a whole window; any other can be named.
    return {"window_size": window, "img_size": 32 * window}


def _convnext(weights: Mapping[str, Tensor]) -> str:
    width = len(weights["stem.0.weight"])
    depths = tuple(_count(weights, rf"stages\.{stage}\.blocks\.(\d+)\.") for stage in range(4))
    names = {
        (40, (2, 2, 6, 2)): "atto",
        (48, (2, 2, 6, 2)): "femto",
        (64, (2, 2, 6, 2)): "pico",
        (80, (2, 2, 8, 2)): "nano",
        (96, (3, 3, 9, 3)): "tiny",
        (96, (3, 3, 27, 3)): "small",
        (128, (3, 3, 27, 3)): "base",
        (192, (3, 3, 27, 3)): "large",
        (352, (3, 3, 27, 3)): "huge",
    }
    name = _known(names, (width, depths), f"a ConvNeXt of width {width} and {depths} blocks")
    second = "stages.0.blocks.0.mlp.grn.weight" in weights
    return f"convnextv2_{name}" if second else f"convnext_{name}"


def _vit(weights: Mapping[str, Tensor]) -> str:
    width = len(weights["patch_embed.proj.weight"])
    depth = _count(weights, r"blocks\.(\d+)\.")
    names = {
        (192, 12): "vit_tiny_patch16_224",
        (384, 12): "vit_small_patch16_224",
        (768, 12): "vit_base_patch16_224",
        (1024, 24): "vit_large_patch16_224",
        (1280, 32): "vit_huge_patch14_224",
    }
    return _known(names, (width, depth), f"a ViT of width {width} and {depth} blocks")


def _vit_args(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    patch = weights["patch_embed.proj.weight"].shape[-1]
    args: dict[str, Any] = {"patch_size": patch} if patch != 16 else {}
    tokens = int("cls_token" in weights)
    if not tokens:
        args["class_token"] = False
    if "reg_token" in weights:
        args["reg_tokens"] = weights["reg_token"].shape[1]
    if "blocks.0.ls1.gamma" in weights:
        args["init_values"] = 1e-5  # layer scale; the value is that of the file
    if "blocks.0.attn.qkv.bias" not in weights:
        args["qkv_bias"] = False
    if "pos_embed" in weights:
        length = weights["pos_embed"].shape[1]
        prefix = tokens + args.get("reg_tokens", 0)
        if tokens and round(length**0.5) ** 2 == length:
            args["no_embed_class"], prefix = True, 0
        side = round((length - prefix) ** 0.5)
        if side * side != length - prefix:
            raise ValueError(f"pos_embed of {length} positions is not that of a square image")
        args["img_size"] = side * patch
    return args


def _known(names: Mapping[Any, str], key: Any, what: str) -> str:
    if key not in names:
        raise ValueError(f"{what} is not known by its shapes")
    return names[key]


def _count(weights: Mapping[str, Tensor], pattern: str) -> int:
    return len({m[1] for name in weights if (m := re.match(pattern, name))})
