"""Heads of CMID (arXiv:2304.09670): reconstruction, global projection, local prototypes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cmid.precision import full_precision


def _init_linear(module: nn.Module) -> None:
    """Truncated normal weights of std 0.02 and zero biases, as in DINO (arXiv:2104.14294)."""
    if isinstance(module, nn.Linear | nn.Conv1d):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _unit_length(features: Tensor) -> Tensor:
    """L2-normalise axis 1 in float32: squares of 16-bit features overflow or vanish."""
    with full_precision(features):
        return F.normalize(features.float(), dim=1)


class ReconstructionHead(nn.Module):
    """Dense features to a full-size image: 1x1 convolution, then pixel shuffle.

    All pixels of a cell start with the same weights (ICNR, arXiv:1707.02937): an untrained head
    paints cells of one colour, and detail grows from there instead of out of noise.

    Args:
        dim: width ``D`` of the dense features.
        stride: pixels per output cell ``s``; any positive number.
        out_chans: channels ``C`` of the image.
        relative: predict images relative to their own mean and standard deviation per band, as
            masked autoencoders do with normalised pixels (arXiv:2111.06377, there per patch).
            Exposure and cast of an image then count nothing, and networks that normalise each image
            themselves (GroupNorm) can reconstruct it.

    Example:
        >>> ReconstructionHead(512, 32, 3)(torch.rand(2, 512, 7, 7)).shape
        torch.Size([2, 3, 224, 224])
    """

    def __init__(self, dim: int, stride: int, out_chans: int, *, relative: bool = False) -> None:
        super().__init__()
        self.relative = relative
        self.stride = stride
        self.project = nn.Conv2d(dim, stride * stride * out_chans, kernel_size=1)
        with torch.no_grad():  # pixel shuffle reads the channels as (out_chans, stride, stride)
            for parameter in self.project.parameters():
                first = parameter[:: stride * stride]
                parameter.copy_(first.repeat_interleave(stride * stride, dim=0))

    def forward(self, dense: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map ``(B, D, N, M)`` to ``(B, C, s*N, s*M)``, in the dtype of the computation.

        Args:
            mask: ``(B, h, w)`` blocks, 1 or True where masked: cells without any stay 0.
        """
        # As rows of one matrix product: a convolution over few cells reorders its operands.
        cells = dense.permute(0, 2, 3, 1)  # (B, N, M, D)
        weight, bias = self.project.weight.flatten(1), self.project.bias
        if mask is None:
            pixels = F.linear(cells.flatten(0, 2), weight, bias)  # (B * N * M, C * s * s)
        else:
            chosen = F.adaptive_max_pool2d(mask.float(), cells.shape[1:3]) > 0  # (B, N, M)
            some = F.linear(cells[chosen], weight, bias)
            pixels = some.new_zeros(*chosen.shape, some.shape[-1])
            pixels[chosen] = some
        pixels = pixels.view(*cells.shape[:3], -1, self.stride, self.stride)
        return pixels.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)

    def target(self, images: Tensor) -> Tensor:
        """What is predicted of ``(B, C, H, W)`` standardised images, float32."""
        if not self.relative:
            return images
        mean, std = _own_moments(images)
        return (images.float() - mean) / std

    def restore(self, predicted: Tensor, images: Tensor) -> Tensor:
        """From a prediction to standardised pixels ``(B, C, H, W)``, the inverse of `target`.

        Args:
            predicted: output of `forward`.
            images: the images themselves, whose mean and standard deviation come back.
        """
        if not self.relative:
            return predicted
        mean, std = _own_moments(images)
        return predicted.float() * std + mean


def _own_moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each band of each image, ``(B, C, 1, 1)``.

    The floor of 0.1, a tenth of the spread of all images, keeps the noise of empty ones small.
    """
    variance, mean = torch.var_mean(images.float(), dim=(-2, -1), keepdim=True, correction=0)
    return mean, (variance + 0.01).sqrt()


class Projector(nn.Module):
    """Two-layer projector of the global branch.

    Without norm it is MoCo-v2's (arXiv:2003.04297): Linear, ReLU, Linear. With norm it is BYOL's
    (arXiv:2006.07733): BatchNorm before the ReLU, usually with ``hidden=512``. With norm of the
    output, too, it is MoCo v3's (arXiv:2104.02057): what all images have in common is taken out of
    the embedding, which hides their differences from the loss early in training.

    Args:
        dim: width of the pooled features.
        hidden: width of the hidden layer.
        out: width of the embedding.
        norm: BatchNorm after the first layer.
        norm_output: BatchNorm without affine parameters after the last layer.
    """

    def __init__(
        self,
        dim: int,
        hidden: int = 2048,
        out: int = 256,
        *,
        norm: bool = False,
        norm_output: bool = False,
    ) -> None:
        super().__init__()
        self.mlp = _mlp(dim, hidden=hidden, out=out, norm=norm)
        if norm_output:
            self.mlp.append(nn.BatchNorm1d(out, affine=False))

    def forward(self, pooled: Tensor) -> Tensor:
        """Map ``(B, D)`` to ``(B, out)``, float32, each row of length 1."""
        return _unit_length(self.mlp(pooled))


class Predictor(Projector):
    """BYOL's predictor (arXiv:2006.07733): the student's guess of the teacher's embedding.

    Args:
        dim: width of the embedding, in and out.
        hidden: width of the hidden layer.
    """

    def __init__(self, dim: int, hidden: int = 512) -> None:
        super().__init__(dim, hidden, dim, norm=True)


def _mlp(dim: int, *, hidden: int, out: int, norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Linear(dim, hidden)]
    if norm:
        layers.append(nn.BatchNorm1d(hidden))
    layers += [nn.ReLU(), nn.Linear(hidden, out)]
    mlp = nn.Sequential(*layers)
    mlp.apply(_init_linear)
    return mlp


class LocalHead(nn.Module):
    r"""DINO's head, cell by cell: an MLP, then cosines with learned prototypes.

    Three 1x1 convolutions with GELU (and BatchNorm for CNNs), L2 norm over channels, then a linear
    layer without bias whose rows are prototypes of length 1: ``output[k] = <w_k / |w_k|, z>``.
    Normalising the rows in ``forward`` *is* weight normalisation with its gain :math:`g` fixed at
    1, without a parameter that must be kept from the optimizer.

    Args:
        dim: width ``D`` of the cells.
        hidden: width of the two hidden layers.
        bottleneck: width before the prototypes.
        num_prototypes: length ``P`` of the output.
        norm: BatchNorm after the hidden layers (the paper: for ResNet, not for Swin).
    """

    def __init__(
        self,
        dim: int,
        hidden: int = 2048,
        bottleneck: int = 256,
        num_prototypes: int = 2048,
        *,
        norm: bool,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in (dim, hidden):
            layers.append(nn.Conv1d(width, hidden, kernel_size=1))
            if norm:
                layers.append(nn.BatchNorm1d(hidden))
            layers.append(nn.GELU())
        layers.append(nn.Conv1d(hidden, bottleneck, kernel_size=1))
        self.mlp = nn.Sequential(*layers)
        self.prototypes = nn.Conv1d(bottleneck, num_prototypes, kernel_size=1, bias=False)
        self.apply(_init_linear)

    def forward(self, cells: Tensor) -> Tensor:
        """Map ``(B, D, cells)`` to cosines ``(B, P, cells)`` in [-1, 1].

        The two normalisations run in float32; the product with the prototypes runs in the
        autocast dtype, if there is one.
        """
        # As rows of one matrix product, like the reconstruction.
        rows = cells.transpose(1, 2).flatten(0, 1)  # (B * cells, D)
        for layer in self.mlp:
            if isinstance(layer, nn.Conv1d):
                rows = F.linear(rows, layer.weight.flatten(1), layer.bias)
            else:
                rows = layer(rows)
        rows = F.linear(_unit_length(rows), _unit_length(self.prototypes.weight.flatten(1)))
        return rows.unflatten(0, (len(cells), -1)).transpose(1, 2)
