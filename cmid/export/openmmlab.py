"""Encoders as weights of OpenMMLab's own backbones.

Any configuration takes them by ``init_cfg=dict(type="Pretrained", checkpoint=...)``. The other
direction is `cmid.checkpoints.identify_file`, which reads these files and published ones alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors.torch import save_file
from timm.layers import GELU
from timm.models.convnext import ConvNeXt
from timm.models.resnet import ResNet
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from cmid.checkpoints.openmmlab_names import Weights, to_openmmlab_names
from cmid.files import whole_file
from cmid.models.encoder import MaskedEncoder
from cmid.views.colour import Standardize

Package = Literal["mmseg", "mmdet", "mmrotate", "mmpretrain"]
PACKAGES: tuple[Package, ...] = get_args(Package)

# ResNets that differ from these in more than names and shapes (pooling, activation) look alike.
_RESNETS = {f"resnet{depth}": depth for depth in (18, 34, 50, 101, 152)}


@dataclass(frozen=True)
class NativeBackbone:
    """One of OpenMMLab's backbones, as a configuration names it, and its weights.

    Attributes:
        arguments: ``type`` and the arguments that fit the weights.
        weights: tensors by OpenMMLab's names.
        prefix: what the names in a file begin with; some of OpenMMLab's networks read files with
            it only, and some without it only.
        new: modules that the network has and timm does not; they start untrained.
        notes: where the network computes something else than the encoder.
    """

    arguments: dict[str, Any]
    weights: Weights
    prefix: str
    new: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def init_cfg(self) -> dict[str, Any]:
        """``init_cfg`` but for its ``checkpoint``."""
        return {"type": "Pretrained"} | ({"prefix": self.prefix} if self.prefix else {})

    def save(self, path: str | Path) -> Path:
        """Write plain tensors, complete or not at all.

        Raises:
            ValueError: neither ``.pth`` nor ``.safetensors``.
        """
        path = Path(path)
        if path.suffix not in (".pth", ".safetensors"):
            raise ValueError(f"{path} must end in .pth or .safetensors")
        weights = {self.prefix + name: tensor for name, tensor in self.weights.items()}
        with whole_file(path) as partial:
            if path.suffix == ".pth":
                # A stream: where torch opens the file, a full disk reads like a defect of torch.
                with partial.open("wb") as stream:
                    torch.save(weights, stream)
            else:
                save_file(weights, partial, metadata={"format": "pt"})
        return path

    def describe(self, checkpoint: str | Path, standardize: Standardize | None = None) -> str:
        """The lines of a configuration that load ``checkpoint``, and what to know of them.

        With ``standardize``, also those of the data preprocessor.
        """
        imports = ["mmpretrain.models"] if self.arguments["type"].startswith("mmpretrain.") else []
        if Path(checkpoint).suffix == ".safetensors":
            imports.append("benchmarks.openmmlab")  # mmengine reads no safetensors
        lines = [f"custom_imports = dict(imports={imports})"] if imports else []
        init_cfg = _call(self.init_cfg | {"checkpoint": str(checkpoint)})
        given = [f"    {key}={_call(value)}," for key, value in self.arguments.items()]
        lines += ["backbone=dict(", *given, f"    init_cfg={init_cfg},", "),"]
        if standardize is not None:
            mean, std = ([round(v, 3) for v in values] for values in standardize.stored_moments())
            lines += [f"data_preprocessor=dict(mean={mean}, std={std}),"]
            lines += ["# of RGB: images loaded by OpenCV need bgr_to_rgb=True (mmpretrain: to_rgb)"]
        lines += [f"# {len(self.weights)} tensors"]
        if self.new:
            lines += [f"# not in the file, they start new: {', '.join(self.new)}"]
        return "\n".join([*lines, *(f"# {note}" for note in self.notes)])


def to_openmmlab(encoder: MaskedEncoder, package: Package) -> NativeBackbone:
    """Map an encoder onto a backbone of OpenMMLab whose stage features equal timm's.

    ResNet, Swin and ConvNeXt give the outputs of their stages, ViT those of the quarters of its
    blocks, the last one behind the final norm; for mmpretrain, which classifies, the last only.

    Args:
        encoder: ResNet-18 to 152, Swin, plain ViT (with or without class token) or ConvNeXt.
        package: whose configuration it is for. What mmsegmentation and mmdetection lack (ConvNeXt;
            mmdetection also ViT) they take from mmpretrain.

    Raises:
        ValueError: OpenMMLab has no such network; the message says what differs.
    """
    if package not in PACKAGES:
        raise ValueError(f"unknown package {package!r}; there are {', '.join(PACKAGES)}")
    kind = type(encoder.backbone)
    if encoder.name.partition(".")[0] in _RESNETS and kind is ResNet:
        native = _resnet(encoder, package)
    elif kind is SwinTransformer:
        native = _swin(encoder, package)
    elif kind is VisionTransformer:
        native = _vit(encoder, package)
    elif kind is ConvNeXt:
        native = _convnext(encoder, package)
    else:
        raise ValueError(
            f"OpenMMLab has no {encoder.name}; it has {', '.join(_RESNETS)}, Swin, ViT and"
            " ConvNeXt; CMIDBackbone takes any"
        )
    if encoder.in_chans != 3:
        native.arguments["in_channels"] = encoder.in_chans
    return native


def _resnet(encoder: MaskedEncoder, package: Package) -> NativeBackbone:
    arguments = {
        "type": "mmdet.ResNet" if package == "mmrotate" else "ResNet",
        "depth": _RESNETS[encoder.name.partition(".")[0]],
        "out_indices": _stages(package),
    }
    notes: tuple[str, ...] = ()
    if (stride := encoder.model_args.get("output_stride", 32)) != 32:
        notes = (f"pretrained with output_stride {stride}; here the same weights at stride 32",)
    return NativeBackbone(
        arguments, _weights(encoder, "openmmlab resnet"), "backbone.", notes=notes
    )


def _swin(encoder: MaskedEncoder, package: Package) -> NativeBackbone:
    network = encoder.backbone
    blocks = [stage.blocks[0] for stage in network.layers]
    windows = sorted({size for block in blocks for size in block.window_size})
    _refuse(
        encoder, len(windows) > 1, f"windows of several sizes, {windows}, at {encoder.img_size}"
    )
    _refuse(encoder, len(blocks) != 4 or network.patch_embed.patch_size != (4, 4), "other strides")
    _check_layers(encoder, blocks[0].mlp.act, network.norm)
    arch = {
        "embed_dims": network.embed_dim,
        "depths": [len(stage.blocks) for stage in network.layers],
        "num_heads": [block.attn.num_heads for block in blocks],
    }
    out = _stages(package)
    arguments: dict[str, Any] = {"type": "SwinTransformer"}
    if package == "mmpretrain":
        arguments |= {"arch": arch, "img_size": encoder.img_size, "pad_small_map": True}
    else:
        if package == "mmrotate":
            arguments["type"] = "mmdet.SwinTransformer"
        arguments |= arch
    arguments |= {"window_size": windows[0], "out_indices": out}
    arguments |= _norm_cfg(network.norm, "LN", default=1e-5)
    last = network.layers[-1].blocks
    notes: tuple[str, ...] = ()
    if len(last) > 1 and not any(last[1].shift_size):
        notes = (
            f"the last stage was pretrained as one window of {encoder.img_size} pixels, without"
            " shift; OpenMMLab shifts its windows",
        )
    weights = _weights(encoder, "openmmlab swin", buffers="relative_position_index")
    return NativeBackbone(arguments, weights, "backbone.", _new_norms(out), notes)


def _vit(encoder: MaskedEncoder, package: Package) -> NativeBackbone:
    network, block = encoder.backbone, encoder.backbone.blocks[0]
    depth, ratio = len(network.blocks), block.mlp.fc1.out_features / network.embed_dim
    _check_layers(encoder, block.mlp.act, network.norm)
    _refuse(encoder, network.pos_embed is None, "no position embedding")
    size = {"img_size": encoder.img_size, "patch_size": network.patch_embed.patch_size[0]}
    quarters = tuple(depth * (i + 1) // 4 - 1 for i in range(4))
    more: dict[str, Any] = {"out_indices": quarters if package != "mmpretrain" else (depth - 1,)}
    if network.cls_token is None:
        more["with_cls_token"] = False
    if block.attn.qkv.bias is None:
        more["qkv_bias"] = False
    arch = {
        "embed_dims": network.embed_dim,
        "num_layers": depth,
        "num_heads": block.attn.num_heads,
    }
    if package == "mmseg":
        _refuse(encoder, ratio != int(ratio), f"an MLP of {ratio} times the width")
        arguments = {"type": "VisionTransformer"} | size | arch | {"mlp_ratio": int(ratio)}
        arguments |= {"patch_bias": True, "final_norm": True} | more
        arguments |= _norm_cfg(network.norm, "LN", default=1e-5)
        return NativeBackbone(arguments, _weights(encoder, "mmseg vit"), "")
    arguments = {"type": _of_mmpretrain("VisionTransformer", package)}
    arguments |= {"arch": arch | {"feedforward_channels": block.mlp.fc1.out_features}} | size
    arguments |= {"out_type": "featmap"} | more | _norm_cfg(network.norm, "LN", default=1e-6)
    return NativeBackbone(arguments, _weights(encoder, "mmpretrain vit"), "backbone.")


def _convnext(encoder: MaskedEncoder, package: Package) -> NativeBackbone:
    network, block = encoder.backbone, encoder.backbone.stages[0].blocks[0]
    _check_layers(encoder, block.mlp.act, getattr(network.head, "norm", None))
    _refuse(encoder, len(network.stem) != 2, "a stem of several convolutions")
    _refuse(encoder, block.conv_dw.kernel_size != (7, 7), "other kernels than 7")
    arguments: dict[str, Any] = {
        "type": _of_mmpretrain("ConvNeXt", package),
        "arch": {
            "depths": [len(stage.blocks) for stage in network.stages],
            "channels": [info["num_chs"] for info in network.feature_info],
        },
        "stem_patch_size": network.stem[0].kernel_size[0],
        "out_indices": _stages(package),
        "gap_before_final_norm": False,
    }
    if isinstance(block.mlp.fc1, nn.Conv2d):
        arguments["linear_pw_conv"] = False
    if hasattr(block.mlp, "grn"):
        arguments["use_grn"] = True
    if block.gamma is None:
        arguments["layer_scale_init_value"] = 0.0
    arguments |= _norm_cfg(network.head.norm, "LN2d", default=1e-6)
    weights = _weights(encoder, "openmmlab convnext")
    return NativeBackbone(arguments, weights, "backbone.", _new_norms(arguments["out_indices"]))


def _weights(encoder: MaskedEncoder, layout: str, *, buffers: str | None = None) -> Weights:
    """All weights by OpenMMLab's names, with buffers that only OpenMMLab stores."""
    network = encoder.backbone
    weights = dict(network.state_dict())
    if buffers:
        weights |= {name: b for name, b in network.named_buffers() if name.endswith(buffers)}
    try:
        renamed = to_openmmlab_names(weights, layout)
    except ValueError as error:
        raise ValueError(f"OpenMMLab has no {encoder.name}: {error}") from error
    return {name: tensor.detach().cpu().contiguous() for name, tensor in renamed.items()}


def _check_layers(encoder: MaskedEncoder, activation: nn.Module, norm: nn.Module | None) -> None:
    """What names and shapes do not show."""
    # timm has a GELU of its own beside torch's.
    exact = isinstance(activation, nn.GELU | GELU)
    exact = exact and getattr(activation, "approximate", "none") == "none"
    _refuse(encoder, not exact, f"{type(activation).__name__} in place of GELU")
    _refuse(
        encoder, not isinstance(norm, nn.LayerNorm), f"{type(norm).__name__} in place of LayerNorm"
    )


def _refuse(encoder: MaskedEncoder, condition: bool, reason: str) -> None:
    if condition:
        raise ValueError(f"OpenMMLab has no {encoder.name} with {reason}; CMIDBackbone takes it")


def _norm_cfg(norm: Any, name: str, *, default: float) -> dict[str, Any]:
    return {} if norm.eps == default else {"norm_cfg": {"type": name, "eps": norm.eps}}


def _stages(package: Package) -> tuple[int, ...]:
    return (3,) if package == "mmpretrain" else (0, 1, 2, 3)


def _new_norms(out_indices: tuple[int, ...]) -> tuple[str, ...]:
    """Norms of all outputs but the last, whose norm is timm's final one."""
    return tuple(f"norm{index}" for index in out_indices if index != 3)


def _of_mmpretrain(name: str, package: Package) -> str:
    return name if package == "mmpretrain" else f"mmpretrain.{name}"


def _call(value: Any) -> str:
    """A value as configurations write it: dictionaries as calls."""
    if isinstance(value, Mapping):
        return f"dict({', '.join(f'{key}={_call(item)}' for key, item in value.items())})"
    return repr(value)
