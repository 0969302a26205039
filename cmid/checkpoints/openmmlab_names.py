"""timm's names of weights and OpenMMLab's, in both directions.

mmdetection, mmsegmentation, mmrotate and mmpretrain share one layout of ResNet, Swin and ConvNeXt;
for ViT mmsegmentation and mmpretrain each have their own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Weights = dict[str, Tensor]
Pair = tuple[str, str]

# timm's name, OpenMMLab's; {} is a number. Names that end in a dot are beginnings.
_RESNET: tuple[Pair, ...] = tuple(
    (name, name)
    for name in (
        "conv1.weight",
        "bn1.",
        "layer{}.{}.conv{}.weight",
        "layer{}.{}.bn{}.",
        "layer{}.{}.downsample.{}.",
    )
)
_SWIN: tuple[Pair, ...] = (
    ("patch_embed.proj.", "patch_embed.projection."),
    ("patch_embed.norm.", "patch_embed.norm."),
    ("layers.{}.blocks.{}.attn.", "stages.{}.blocks.{}.attn.w_msa."),
    ("layers.{}.blocks.{}.norm{}.", "stages.{}.blocks.{}.norm{}."),
    ("layers.{}.blocks.{}.mlp.fc1.", "stages.{}.blocks.{}.ffn.layers.0.0."),
    ("layers.{}.blocks.{}.mlp.fc2.", "stages.{}.blocks.{}.ffn.layers.1."),
    ("layers.{}.downsample.norm.", "stages.{}.downsample.norm."),
    ("layers.{}.downsample.reduction.", "stages.{}.downsample.reduction."),
    ("norm.", "norm3."),
)
_VIT: tuple[Pair, ...] = (
    ("cls_token", "cls_token"),
    ("pos_embed", "pos_embed"),
    ("patch_embed.proj.", "patch_embed.projection."),
    ("blocks.{}.norm{}.", "layers.{}.ln{}."),
    ("blocks.{}.mlp.fc1.", "layers.{}.ffn.layers.0.0."),
    ("blocks.{}.mlp.fc2.", "layers.{}.ffn.layers.1."),
    ("norm.", "ln1."),
)
_VIT_MMPRETRAIN: tuple[Pair, ...] = (
    *_VIT,
    ("blocks.{}.attn.qkv.", "layers.{}.attn.qkv."),
    ("blocks.{}.attn.proj.", "layers.{}.attn.proj."),
)
_VIT_MMSEG: tuple[Pair, ...] = (
    *_VIT,
    ("blocks.{}.attn.qkv.weight", "layers.{}.attn.attn.in_proj_weight"),
    ("blocks.{}.attn.qkv.bias", "layers.{}.attn.attn.in_proj_bias"),
    ("blocks.{}.attn.proj.", "layers.{}.attn.attn.out_proj."),
)
_CONVNEXT: tuple[Pair, ...] = (
    ("stem.{}.", "downsample_layers.0.{}."),
    ("stages.{}.downsample.{}.", "downsample_layers.{}.{}."),
    ("stages.{}.blocks.{}.conv_dw.", "stages.{}.{}.depthwise_conv."),
    ("stages.{}.blocks.{}.norm.", "stages.{}.{}.norm."),
    ("stages.{}.blocks.{}.mlp.fc{}.", "stages.{}.{}.pointwise_conv{}."),
    ("stages.{}.blocks.{}.mlp.grn.weight", "stages.{}.{}.grn.gamma"),
    ("stages.{}.blocks.{}.mlp.grn.bias", "stages.{}.{}.grn.beta"),
    ("stages.{}.blocks.{}.gamma", "stages.{}.{}.gamma"),
    ("head.norm.", "norm3."),
)


@dataclass(frozen=True)
class NameMap:
    """The names of one family.

    Attributes:
        mark: a name that only OpenMMLab's layout has.
        pairs: timm's name and OpenMMLab's.
    """

    mark: str
    pairs: tuple[Pair, ...]


NAME_MAPS = {
    "openmmlab resnet": NameMap("layer1.0.conv1.weight", _RESNET),
    "openmmlab swin": NameMap("stages.0.blocks.0.attn.w_msa.qkv.weight", _SWIN),
    "mmseg vit": NameMap("layers.0.attn.attn.in_proj_weight", _VIT_MMSEG),
    "mmpretrain vit": NameMap("layers.0.ln1.weight", _VIT_MMPRETRAIN),
    "openmmlab convnext": NameMap("stages.0.0.depthwise_conv.weight", _CONVNEXT),
}


def to_openmmlab_names(weights: Mapping[str, Tensor], layout: str) -> Weights:
    """Rename timm's weights.

    Args:
        weights: timm's state dict, without a classifier.
        layout: a key of `NAME_MAPS`.

    Raises:
        ValueError: weights that OpenMMLab's network does not have; names the first.
    """
    pairs = NAME_MAPS[layout].pairs
    renamed, left = Weights(), []
    for name, tensor in weights.items():
        new = _rename(name, pairs)
        if new is None:
            left.append(name)
        elif layout == "openmmlab swin" and ".downsample." in new:
            renamed[_move_stage(new, -1)] = _merge_by_unfold(tensor)
        else:
            renamed[new] = tensor
    if left:
        raise ValueError(f"the {layout} layout has no place for {', '.join(left[:3])}")
    return _with_positions(renamed, layout) if "pos_embed" in renamed else renamed


def from_openmmlab_names(weights: Mapping[str, Tensor], layout: str) -> Weights:
    """Rename OpenMMLab's weights to timm's; a name that is not in the layout stays as it is.

    Norms of other outputs than the last, which timm does not have (``norm0`` and so on), become
    ``stage0_norm``. For Swin, the last output's norm has the number of the last stage.
    """
    pairs = tuple((theirs, ours) for ours, theirs in NAME_MAPS[layout].pairs)
    renamed = Weights()
    for name, tensor in weights.items():
        new = _rename(name, pairs) or re.sub(r"^norm([012])\.", r"stage\1_norm.", name)
        if layout == "openmmlab swin" and ".downsample." in new:
            new, tensor = _move_stage(new, 1), _merge_by_concatenation(tensor)
        renamed[new] = tensor
    return renamed


def _rename(name: str, pairs: tuple[Pair, ...]) -> str | None:
    for source, target in pairs:
        pattern = re.escape(source).replace(r"\{\}", r"(\d+)")
        if match := re.match(pattern if source.endswith(".") else f"{pattern}$", name):
            return target.format(*match.groups()) + name[match.end() :]
    return None


def _move_stage(name: str, step: int) -> str:
    """Merging closes a stage of OpenMMLab's Swin and opens the next one of timm's."""
    return re.sub(r"\d+", lambda number: str(int(number[0]) + step), name, count=1)


def _merge_by_unfold(tensor: Tensor) -> Tensor:
    """Reorder the last axis ``4 C`` of patch merging from (j, i, c) to (c, i, j).

    timm concatenates whole neighbours: channel ``c`` of the one in row ``i``, column ``j`` comes at
    ``(2 j + i) C + c``. OpenMMLab merges by ``nn.Unfold``: the same comes at ``4 c + 2 i + j``.
    """
    split = tensor.unflatten(-1, (2, 2, tensor.shape[-1] // 4))
    return split.movedim((-3, -2, -1), (-1, -2, -3)).flatten(-3)


def _merge_by_concatenation(tensor: Tensor) -> Tensor:
    """Undo `_merge_by_unfold`."""
    split = tensor.unflatten(-1, (tensor.shape[-1] // 4, 2, 2))
    return split.movedim((-1, -2, -3), (-3, -2, -1)).flatten(-3)


def _with_positions(weights: Weights, layout: str) -> Weights:
    """Give ViT's class token a position, and mmsegmentation's ViT a class token.

    Where timm's class token has no position (``no_embed_class``), a zero changes nothing.
    mmsegmentation always has the token; ``with_cls_token=False`` drops it behind the embedding.
    """
    position = weights["pos_embed"]
    nothing = position.new_zeros(1, 1, position.shape[-1])
    if layout == "mmseg vit":
        weights = {"cls_token": nothing} | weights
    cells = round(position.shape[1] ** 0.5) ** 2
    if "cls_token" in weights and cells == position.shape[1]:
        weights["pos_embed"] = torch.cat([nothing, position], dim=1)
    return weights
