"""Key layouts of published networks, renamed to timm's.

Each function takes a state dict whose prefix is gone, and returns timm's names; what it cannot name
stays as it is, so that the caller can say so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

Weights = dict[str, Tensor]

# An nn.Sequential of torchvision's ResNet without its classifier.
_SEQUENTIAL = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}

_OPENMMLAB_SWIN = (
    (r"patch_embed\.projection\.", "patch_embed.proj."),
    (r"stages\.(\d+)\.blocks\.(\d+)\.attn\.w_msa\.", r"layers.\1.blocks.\2.attn."),
    (r"stages\.(\d+)\.blocks\.(\d+)\.ffn\.layers\.0\.0\.", r"layers.\1.blocks.\2.mlp.fc1."),
    (r"stages\.(\d+)\.blocks\.(\d+)\.ffn\.layers\.1\.", r"layers.\1.blocks.\2.mlp.fc2."),
    (r"stages\.(\d+)\.blocks\.", r"layers.\1.blocks."),
)


def find_layout(weights: Mapping[str, Tensor]) -> str | None:
    """Name of the layout in `LAYOUTS`, by names that only it has."""
    marks = {
        "sequential resnet": "4.0.conv1.weight",
        "resnet": "layer1.0.conv1.weight",
        "openmmlab swin": "stages.0.blocks.0.attn.w_msa.qkv.weight",
        "swin": "layers.0.blocks.0.attn.qkv.weight",
        "vit": "blocks.0.attn.qkv.weight",
    }
    return next((layout for layout, name in marks.items() if name in weights), None)


def sequential_resnet(weights: Mapping[str, Tensor]) -> Weights:
    """Numbered children (SeCo) to torchvision's names, which are timm's."""
    renamed = {}
    for name, tensor in weights.items():
        child, _, rest = name.partition(".")
        renamed[f"{_SEQUENTIAL.get(child, child)}.{rest}"] = tensor
    return renamed


def openmmlab_swin(weights: Mapping[str, Tensor]) -> Weights:
    """OpenMMLab's Swin to timm's: other names, and another order of channels in patch merging.

    OpenMMLab merges by ``nn.Unfold``: channel ``c`` of the neighbour in row ``i``, column ``j``
    comes at ``4 c + 2 i + j``. timm concatenates whole neighbours: the same channel comes at
    ``(2 j + i) C + c``. OpenMMLab merges at the end of a stage, timm at the beginning of the next.
    ``norm0`` and so on are norms of the stages' outputs; timm has the last one only, the others
    become ``stage0_norm`` and so on.
    """
    renamed: Weights = {}
    last = max(int(n.split(".")[1]) for n in weights if n.startswith("stages."))
    for name, tensor in weights.items():
        if merging := re.match(r"stages\.(\d+)\.downsample\.(.+)", name):
            stage, rest = int(merging[1]) + 1, merging[2]
            renamed[f"layers.{stage}.downsample.{rest}"] = _unfold_to_concat(tensor)
        elif norm := re.fullmatch(r"norm(\d)\.(weight|bias)", name):
            before = "" if int(norm[1]) == last else f"stage{norm[1]}_"
            renamed[f"{before}norm.{norm[2]}"] = tensor
        else:
            renamed[_substitute(name, _OPENMMLAB_SWIN)] = tensor
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
    """timm's ViT; fine-tuned MAE keeps its last norm as ``fc_norm``, behind the pooling."""
    if "norm.weight" in weights:
        return dict(weights)
    return {re.sub(r"^fc_norm\.", "norm.", name): tensor for name, tensor in weights.items()}


LAYOUTS: dict[str, Callable[[Mapping[str, Tensor]], Weights]] = {
    "sequential resnet": sequential_resnet,
    "resnet": dict,
    "openmmlab swin": openmmlab_swin,
    "swin": swin,
    "vit": vit,
}


def find_architecture(
    weights: Mapping[str, Tensor], *, by_shape: bool = True
) -> tuple[str, dict[str, Any]]:
    """timm's name and further arguments, from names and shapes of weights in timm's layout.

    Args:
        by_shape: False leaves the name empty, for weights whose architecture was named.

    Raises:
        ValueError: none of the architectures that we know.
    """
    if "layer1.0.conv1.weight" in weights:
        return _resnet(weights) if by_shape else "", {}
    if "layers.0.blocks.0.attn.qkv.weight" in weights:
        return _swin(weights) if by_shape else "", _swin_args(weights)
    return _vit(weights) if by_shape else "", _vit_args(weights)


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
    table = weights["layers.0.blocks.0.attn.relative_position_bias_table"]
    window = (round(len(table) ** 0.5) + 1) // 2
    # The smallest size whose last stage is a whole window; any other can be named.
    return {"window_size": window, "img_size": 32 * window}


def _vit(weights: Mapping[str, Tensor]) -> str:
    width = len(weights["patch_embed.proj.weight"])
    depth = _count(weights, r"blocks\.(\d+)\.")
    names = {
        (192, 12): "vit_tiny_patch16_224",
        (384, 12): "vit_small_patch16_224",
        (768, 12): "vit_base_patch16_224",
        (1024, 24): "vit_large_patch16_224",
    }
    return _known(names, (width, depth), f"a ViT of width {width} and {depth} blocks")


def _vit_args(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    patch = weights["patch_embed.proj.weight"].shape[-1]
    args: dict[str, Any] = {"patch_size": patch} if patch != 16 else {}
    if "cls_token" not in weights:
        args["class_token"] = False
    if "pos_embed" in weights:
        cells = weights["pos_embed"].shape[1] - int("cls_token" in weights)
        args["img_size"] = round(cells**0.5) * patch
    return args


def _known(names: Mapping[Any, str], key: Any, what: str) -> str:
    if key not in names:
        raise ValueError(f"{what} is not known by its shapes; name it with architecture")
    return names[key]


def _count(weights: Mapping[str, Tensor], pattern: str) -> int:
    return len({m[1] for name in weights if (m := re.match(pattern, name))})


def _substitute(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        renamed, found = re.subn(f"^{pattern}", replacement, name)
        if found:
            return renamed
    return name


def _unfold_to_concat(tensor: Tensor) -> Tensor:
    """Reorder the last axis ``4 C`` of patch merging from (c, i, j) to (j, i, c)."""
    split = tensor.unflatten(-1, (tensor.shape[-1] // 4, 2, 2))
    return split.movedim((-1, -2, -3), (-3, -2, -1)).flatten(-3)
