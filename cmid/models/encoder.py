"""An untouched timm model whose stem output can be masked."""

from __future__ import annotations

import difflib
import inspect
import typing
from collections.abc import Collection
from typing import Any, Literal

import timm
import torch
from torch import Tensor, nn

from cmid.models.evaluating import evaluating
from cmid.models.feature_map import FeatureMap

MaskMode = Literal["add", "replace"]

# Where the stem ends, by architecture: the first name that the backbone has. ResNet's stem ends
# with its pooling, EfficientNet's with the activation that timm keeps inside `bn1`.
_STEM_NAMES = ("maxpool", "patch_embed", "stem", "bn1")


class MaskedEncoder(nn.Module):
    """A timm backbone with dense output and a learned mask token behind its stem.

    The token is combined with the stem's output by a forward hook, so the class, the parameter
    names and the weights of ``backbone`` stay timm's: ``backbone.state_dict()`` loads in
    ``timm.create_model(name, **model_args)``, for ResNet, ConvNeXt, Swin and ViT also in
    ``timm.create_model(name, num_classes=0)`` of the same size. Published CMID configs *add* the
    token (``x + m * token``); SimMIM (arXiv:2111.09886) *replaces* (``x * (1 - m) + m * token``).

    Backbones that can take any input size are built so (``dynamic_img_size`` of ViT,
    ``strict_img_size`` of Swin); ``img_size`` is then the size that position embeddings and windows
    are laid out for. Pooling is the average over cells, without class or register tokens, also
    where timm's default is the class token; ViT's last norm then stays *before* the pooling
    (``fc_norm=False``), where its parameters keep the default names.

    Args:
        name: a name of ``timm.list_models()``, with or without a weight tag.
        in_chans: image channels ``C``.
        img_size: pixels per side, for backbones that are laid out for one size; default timm's.
        mask_mode: how the token meets the stem's output.
        stem: name of the sub-module whose output is the stem, when it is not found by itself.
        pretrained: start from timm's weights (downloads them).
        **model_kwargs: more arguments of ``timm.create_model``; they win over ours.

    Attributes:
        backbone: the timm model.
        mask_token: ``(stem_width,)``, init 0. A vector, so optimizers do not decay it; the
            published run decays it by 0.02.
        model_args: the arguments with which ``timm.create_model`` builds the same backbone.
        embed_dim: width ``D`` of the dense output; stride: its pixels per cell.
        pooled_dim: width of :meth:`pool`'s output, nearly always ``embed_dim``.
        stem_width, stem_stride: the same of the stem's output.

    Raises:
        ValueError: unknown name, no spatial output, no stem, or a pooling that reads more than
            the dense output.

    Example:
        >>> MaskedEncoder("resnet18")(torch.rand(2, 3, 224, 224)).shape
        torch.Size([2, 512, 7, 7])
    """

    backbone: Any  # a timm model; nn.Module does not know forward_features

    def __init__(
        self,
        name: str,
        *,
        in_chans: int = 3,
        img_size: int | None = None,
        mask_mode: MaskMode = "add",
        stem: str | None = None,
        pretrained: bool = False,
        **model_kwargs: Any,
    ) -> None:
        super().__init__()
        if mask_mode not in typing.get_args(MaskMode):
            raise ValueError(f"mask_mode must be 'add' or 'replace', got {mask_mode!r}")
        self.name = name
        self.mask_mode = mask_mode
        self.in_chans = in_chans
        self.model_args = _model_args(name, in_chans=in_chans, img_size=img_size) | model_kwargs
        self.backbone = _create_backbone(
            name, self.model_args, chosen=model_kwargs, pretrained=pretrained
        )
        self.img_size = img_size or int(self.backbone.pretrained_cfg["input_size"][-1])
        self.stem_name = stem or _find_stem(self.backbone, name)
        try:
            stem_map, self._map, self.pooled_dim = _measure(self)
        except AttributeError as error:  # too few stages, which timm misses when it runs them
            raise _refusal(name, self.model_args, error, chosen=model_kwargs) from error
        self.stem_width, self.stem_stride = stem_map.width, stem_map.stride
        self.embed_dim, self.stride = self._map.width, self._map.stride
        self.mask_token = nn.Parameter(torch.zeros(self.stem_width))
        self._hook = _MaskHook(stem_map, mask_mode)
        self.backbone.get_submodule(self.stem_name).register_forward_hook(self._hook)

    def forward(self, images: Tensor, mask: Tensor | None = None) -> Tensor:
        """Dense features of images, some of whose blocks may be masked.

        Args:
            images: ``(B, C, H, W)``; H and W multiples of ``stride``.
            mask: ``(B, gh, gw)`` bool or float in blocks, 1 where masked. Each block must cover a
                whole number of cells of the stem's output.

        Returns:
            ``(B, D, H / stride, W / stride)``.

        Raises:
            ValueError: sizes that do not divide; the message names them.
        """
        height, width = images.shape[-2:]
        if height % self.stride or width % self.stride:
            raise ValueError(
                f"image of {height}x{width} is not a multiple of the stride {self.stride} "
                f"of {self.name}: change its size"
            )
        grid = (height // self.stride, width // self.stride)
        if mask is None:
            return self._map.to_dense(self.backbone.forward_features(images), grid)
        stem_grid = (height // self.stem_stride, width // self.stem_stride)
        stem_mask = _repeat_blocks(mask, stem_grid, batch=len(images), cell=self.stem_stride)
        outer, self._hook.pending = self._hook.pending, (stem_mask, self.mask_token)
        try:
            features = self.backbone.forward_features(images)
        finally:
            self._hook.pending = outer
        return self._map.to_dense(features, grid)

    def pool(self, dense: Tensor) -> Tensor:
        """Pool ``(B, D, N, M)`` to ``(B, pooled_dim)`` with the backbone's own head.

        The mean over cells, then whatever the architecture has behind it: nothing for ResNet,
        Swin and ViT; a LayerNorm for ConvNeXt, which the bare mean would leave without gradient.
        """
        return self.backbone.forward_head(self._map.from_dense(dense))

    def pooled(self, images: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, pooled_dim)``: what the exported timm model returns."""
        return self.backbone(images)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute activations in the backward pass, with timm's own switch."""
        self.backbone.set_grad_checkpointing(enable)


class _MaskHook:
    """Forward hook that combines a mask token with a stem's output.

    An object of its own, not a closure or a method of the encoder: it can be copied and pickled
    with the backbone alone. ``pending`` is set for the length of one forward pass.
    """

    def __init__(self, stem_map: FeatureMap, mask_mode: MaskMode) -> None:
        self.layout = stem_map.layout
        self.mask_mode = mask_mode
        self.pending: tuple[Tensor, Tensor] | None = None

    def __call__(self, module: nn.Module, args: Any, output: Tensor) -> Tensor | None:
        if self.pending is None:
            return None
        mask, token = self.pending
        mask, token = mask.to(output.dtype), token.to(output.dtype)  # (B, gh, gw), (D,)
        if self.layout == "NCHW":
            mask, token = mask.unsqueeze(1), token.view(-1, 1, 1)
        else:
            mask = (mask.flatten(1) if self.layout == "NLC" else mask).unsqueeze(-1)
        if self.mask_mode == "replace":
            output = output * (1 - mask)
        return output + mask * token


def _repeat_blocks(mask: Tensor, grid: tuple[int, int], *, batch: int, cell: int) -> Tensor:
    """Repeat each block of ``(B, gh, gw)`` to the cells of ``grid`` that it covers."""
    if mask.ndim != 3 or len(mask) != batch:
        raise ValueError(f"mask of shape {tuple(mask.shape)} is not ({batch}, rows, columns)")
    rows, columns = mask.shape[1:]
    if grid[0] % rows or grid[1] % columns:
        raise ValueError(
            f"mask of {rows}x{columns} blocks does not divide the stem's {grid[0]}x{grid[1]} cells:"
            f" the views' block_size has to be a multiple of {cell} pixels"
        )
    mask = mask.repeat_interleave(grid[0] // rows, dim=1)
    return mask.repeat_interleave(grid[1] // columns, dim=2)


def check_name(name: str) -> None:
    """Raise ValueError, with the nearest names, where timm has no model of a name."""
    architecture = name.partition(".")[0]
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), n=3, cutoff=0.5)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise ValueError(f"timm has no model {name!r}{hint}")


def skeleton(
    name: str, *, in_chans: int = 3, img_size: int | None = None, **model_kwargs: Any
) -> Any:
    """The backbone that `MaskedEncoder` would build, on the meta device: no memory, no numbers.

    Raises:
        ValueError: unknown name, or arguments that timm refuses.
    """
    args = _model_args(name, in_chans=in_chans, img_size=img_size) | model_kwargs
    with torch.device("meta"):
        return _create_backbone(name, args, chosen=model_kwargs, pretrained=False)


def _model_args(name: str, *, in_chans: int, img_size: int | None) -> dict[str, Any]:
    """Arguments of ``timm.create_model`` for any input size and average pooling.

    Which of them an architecture knows is read from the class that timm's entry point declares.
    """
    architecture = name.partition(".")[0]
    check_name(name)
    model_class = typing.get_type_hints(timm.model_entrypoint(architecture)).get("return")
    known = inspect.signature(model_class).parameters if inspect.isclass(model_class) else {}
    default = timm.get_pretrained_cfg(architecture)
    if img_size is None and default is not None and default.fixed_input_size:
        # Written out: timm falls back on 224 when an exported model is no longer of fixed size.
        img_size = default.input_size[-1]
    options = {
        "img_size": img_size,
        "dynamic_img_size": True,
        "strict_img_size": False,
        "global_pool": "avg",
        "fc_norm": False,
    }
    if "dynamic_img_size" in known:  # Swin has both, and takes either
        del options["strict_img_size"]
    return {"num_classes": 0, "in_chans": in_chans} | {
        key: value for key, value in options.items() if key in known and value is not None
    }


def _create_backbone(
    name: str, model_args: dict[str, Any], *, chosen: Collection[str], pretrained: bool
) -> nn.Module:
    try:
        return timm.create_model(name, pretrained=pretrained, **model_args)
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise _refusal(name, model_args, error, chosen=chosen) from error


def _refusal(
    name: str, model_args: dict[str, Any], error: Exception, *, chosen: Collection[str]
) -> ValueError:
    given = ", ".join(f"{key}={value!r}" for key, value in model_args.items())
    reason = str(error) or "not one of the values that it knows"  # assertions without a text
    remedy = "; model.backbone_args has to fit the backbone, null has none" if chosen else ""
    return ValueError(f"timm cannot build {name} with {given}: {reason}{remedy}")


def _find_stem(backbone: nn.Module, name: str) -> str:
    for stem in _STEM_NAMES:
        if isinstance(getattr(backbone, stem, None), nn.Module):
            return stem
    children = ", ".join(child for child, _ in backbone.named_children())
    raise ValueError(f"no known stem in {name}; name its last module with `stem` (of: {children})")


@torch.no_grad()
def _measure(encoder: MaskedEncoder) -> tuple[FeatureMap, FeatureMap, int]:
    """Run one image: maps of the stem and of the output, width of the pooled features.

    Running is the only source that holds for every architecture. Evaluation mode and a fixed image
    leave BatchNorm's statistics and the random state as they were.
    """
    name, backbone, side = encoder.name, encoder.backbone, encoder.img_size
    seen: list[Any] = []
    handle = backbone.get_submodule(encoder.stem_name).register_forward_hook(
        lambda module, args, output: seen.append(output)
    )
    image = torch.linspace(-9, 9, encoder.in_chans * side * side).sin()
    image = image.view(1, encoder.in_chans, side, side).to(next(backbone.parameters()).device)
    with handle, evaluating(backbone):
        features = backbone.forward_features(image)
        pooled = backbone.forward_head(features)
        axes, prefix = _axes(backbone, "NCHW"), getattr(backbone, "num_prefix_tokens", 0)
        try:
            output = FeatureMap.of(features, (side, side), prefix=prefix, axes=axes)
        except (ValueError, AttributeError) as error:
            raise ValueError(f"{name} has no spatial output: {error}") from error
        dense = output.to_dense(features, (side // output.stride, side // output.stride))
        again = backbone.forward_head(output.from_dense(dense))
    if not torch.allclose(again, pooled, atol=1e-5):
        raise ValueError(f"{name} does not pool by averaging its cells; set its global_pool")
    stem_axes = _axes(backbone.get_submodule(encoder.stem_name), axes)
    try:
        (stem_output,) = seen
        stem = FeatureMap.of(stem_output, (side, side), prefix=0, axes=stem_axes)
    except (ValueError, AttributeError) as error:
        raise ValueError(
            f"{encoder.stem_name!r} of {name} is no stem ({error}); name it with `stem`"
        ) from error
    return stem, output, pooled.shape[-1]


def _axes(module: nn.Module, default: str) -> str:
    """Order of the axes that a timm module declares for its output."""
    declared = getattr(module, "output_fmt", None)
    return str(getattr(declared, "value", declared or default))
