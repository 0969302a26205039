"""Any timm backbone, by its exported folder, as a backbone of OpenMMLab."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from timm.layers import LayerNorm2d
from timm.models import group_parameters
from timm.models.swin_transformer import SwinTransformer, SwinTransformerBlock
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cmid.checkpoints import StoredEncoder, identify, load_backbone
from cmid.models import MaskedEncoder
from cmid.models.intermediates import intermediate_maps, is_plain, levels, stages

STAGES = 4


@MODELS.register_module()
class CMIDBackbone(BaseModule):
    """Feature maps of a timm backbone's stages, finest first.

    The network is timm's with its own weights: whatever `cmid.checkpoints.load_backbone` accepts.
    Loading is strict; one weight of an export missing or left over is an error.

    ResNet, ConvNeXt and Swin have stages 0 to 3 of strides 4, 8, 16 and 32. A plain ViT's stages
    are quarters of its blocks, all of the patch's stride (16); several of them become a pyramid of
    strides 4, 8, 16 and 32 by transposed convolutions and pooling (arXiv:2111.11429).

    Images may have any size: position embeddings are resampled, and what transformers and ConvNeXt
    would cut off or refuse is padded with zeros at the right and below, up to a whole cell.

    Transformers and ConvNeXt get a LayerNorm behind each returned stage. It starts as the
    pretrained final norm where the width fits (last stage; every one of a ViT), else fresh.

    Args:
        name: exported folder, checkpoint, ``random:`` before one of these for the same network
            untrained, ``random:NAME``, or a timm name.
        out_indices: stages to return, ascending.
        frozen_stages: freeze the stem and this many stages, 0 to 4, and keep them in evaluation
            mode (dropped paths, running statistics); -1 leaves the stem free, too.
        norm_eval: keep the running statistics of all BatchNorm as they are.
        drop_path_rate: stochastic depth.
        img_size: pixels per side that a network is laid out for. It matters to Swin, whose windows
            are shifted only in stages that are wider than a window at this size: give the training
            size of the task. Exports keep their own if it is None.
        output_stride: stride of a ResNet's last stage. Exports pretrained with a finer one
            (dilated) get 32 all the same, which anchors of OpenMMLab are made for; None keeps
            theirs.
        in_channels: bands of the images; an export has to agree.
        with_cp: recompute activations in the backward pass, to save memory.
        seed: random seed of the weights after ``random:``.

    Attributes:
        out_channels: width of each returned map. strides: its pixels per cell.

    Raises:
        FileNotFoundError, ValueError: as `cmid.checkpoints.load_backbone`; also no such stage,
            other bands than the export's, or an ``output_stride`` of a network that has none.
    """

    def __init__(
        self,
        name: str,
        *,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        drop_path_rate: float = 0.0,
        img_size: int | None = None,
        output_stride: int | None = 32,
        in_channels: int = 3,
        with_cp: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not out_indices or list(out_indices) != sorted({*out_indices} & {*range(STAGES)}):
            raise ValueError(f"out_indices must be ascending, of 0 to {STAGES - 1}: {out_indices}")
        if frozen_stages not in range(-1, STAGES + 1):
            raise ValueError(f"frozen_stages must be -1 to {STAGES}: {frozen_stages}")
        more = {"drop_path_rate": drop_path_rate} if drop_path_rate else {}
        stored = identify(name, in_chans=in_channels, img_size=img_size, seed=seed)
        if stored.model_args["in_chans"] != in_channels:
            raise ValueError(
                f"{name} reads {stored.model_args['in_chans']} bands, in_channels is {in_channels}"
            )
        encoder = _load(stored, output_stride=output_stride, img_size=img_size, **more)
        self.network: Any = encoder.train().requires_grad_(True).backbone
        print_log(
            f"{name}: all {len(self.network.state_dict())} tensors of {encoder.name} loaded",
            logger="current",
        )
        self.plain, self.depth = is_plain(self.network), len(levels(self.network))
        found = stages(self.network, STAGES)
        self.take = [found[i] for i in out_indices]
        self.out_channels = tuple(level.width for level in self.take)
        strides = [level.stride for level in self.take]
        self.norms = self._norms()
        self.network.prune_intermediate_layers(
            [level.index for level in self.take], prune_norm=True, prune_head=True
        )
        self.pyramid = nn.ModuleList()
        if self.plain and len(self.take) > 1:
            self.pyramid.extend(_resample(self.out_channels[0], stage) for stage in out_indices)
            strides = [round(s * 2.0 ** (i - 2)) for s, i in zip(strides, out_indices, strict=True)]
        self.strides = tuple(strides)
        whole = isinstance(self.norms[0], nn.Identity)  # convolutions of stride 2 lose no pixel
        self.multiple = 1 if whole else max(strides)
        if with_cp:
            self.network.set_grad_checkpointing(True)
        self.norm_eval = norm_eval
        self._freeze(frozen_stages)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map ``(B, C, H, W)`` standardised images to ``(B, D, H / stride, W / stride)`` each.

        Where a stride does not divide, the maps are rounded up.
        """
        height, width = images.shape[-2:]
        below, right = -height % self.multiple, -width % self.multiple
        if below or right:
            images = nn.functional.pad(images, (0, right, 0, below))
        features = intermediate_maps(self.network, images, self.take)
        features = [norm(f) for norm, f in zip(self.norms, features, strict=True)]
        if self.pyramid:
            features = [scale(f) for scale, f in zip(self.pyramid, features, strict=True)]
        return tuple(features)

    def init_weights(self) -> None:
        """Do nothing: mmengine would call timm's own ``init_weights`` and lose what was loaded."""
        self._is_init = True

    def train(self, mode: bool = True) -> CMIDBackbone:
        """Set the mode; what is frozen, and BatchNorm with ``norm_eval``, stays in evaluation."""
        super().train(mode)
        for module in self.network.modules():
            parameters = list(module.parameters())
            frozen = bool(parameters) and not any(p.requires_grad for p in parameters)
            if frozen or (self.norm_eval and isinstance(module, _BatchNorm)):
                module.eval()
        return self

    def _norms(self) -> nn.ModuleList:
        final = next(
            (
                norm
                for holder in (self.network, getattr(self.network, "head", None))
                if isinstance(norm := getattr(holder, "norm", None), nn.LayerNorm)
            ),
            None,
        )
        norms = nn.ModuleList()
        for width in self.out_channels:
            if final is None:  # BatchNorm networks end in a rectified sum
                norms.append(nn.Identity())
                continue
            norm = LayerNorm2d(width, eps=final.eps)
            if (width,) == tuple(final.normalized_shape):
                norm.load_state_dict(final.state_dict())
            norms.append(norm)
        return norms

    def _freeze(self, stages: int) -> None:
        """Freeze by timm's own order of parameters: 0 is the stem, then stages or blocks."""
        order = group_parameters(
            self.network, self.network.group_matcher(coarse=True), reverse=True
        )
        last = stages * self.depth // STAGES if self.plain else stages
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(order[name] > last)


def _load(
    stored: StoredEncoder, *, output_stride: int | None, img_size: int | None, **more: Any
) -> MaskedEncoder:
    """Load strictly, then lay out for the stride and the size of the task."""
    if output_stride not in (None, stored.model_args.get("output_stride", 32)):
        more["output_stride"] = output_stride
    encoder = load_backbone(stored, **more).encoder
    network = encoder.backbone
    if isinstance(network, SwinTransformer) and img_size not in (None, encoder.img_size):
        blocks = (m for m in network.modules() if isinstance(m, SwinTransformerBlock))
        window = next(blocks).window_size
        network.set_input_size(img_size=(img_size, img_size), window_size=window)
    return encoder


def _resample(width: int, stage: int) -> nn.Module:
    """From a ViT's stride to a quarter, half, one or two of it."""
    if stage == 0:
        return nn.Sequential(_double(width), LayerNorm2d(width), nn.GELU(), _double(width))
    if stage == 1:
        return _double(width)
    return nn.Identity() if stage == 2 else nn.MaxPool2d(2)


def _double(width: int) -> nn.Module:
    return nn.ConvTranspose2d(width, width, 2, stride=2)
