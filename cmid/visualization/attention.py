"""Where a backbone looks: attention of transformers, saliency of the embedding of CNNs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from timm.models.swin_transformer import window_partition, window_reverse
from torch import Tensor, nn

from cmid.models.encoder import MaskedEncoder
from cmid.visualization.reconstruction import displayable


@dataclass(frozen=True)
class BlockAttention:
    """What one block of a transformer attends to.

    Attributes:
        weights: ``(B * windows, heads, queries, keys)``, each row sums to 1; one window for ViT.
        grid: rows and columns of cells.
        window: rows and columns of a window; zeros where every token attends to every other.
        shift: cells by which the windows of a Swin block are shifted.
        prefix: tokens before the cells (class and register tokens).
    """

    weights: Tensor
    grid: tuple[int, int]
    window: tuple[int, int] = (0, 0)
    shift: tuple[int, int] = (0, 0)
    prefix: int = 0


@torch.no_grad()
def attention_of_blocks(encoder: MaskedEncoder, images: Tensor) -> list[BlockAttention]:
    """Attention of every block of a timm ViT or Swin (v1, v2), first block first.

    The model is not modified: its unfused path is chosen for one pass, and the softmax is read
    where it meets the attention's dropout.

    Args:
        images: ``(B, C, H, W)`` standardised.

    Raises:
        ValueError: no block with attention that we can read, as in a CNN.
    """
    backbone = encoder.backbone
    blocks = [m for m in backbone.modules() if _has_attention(m)]
    if not blocks:
        raise ValueError(f"{encoder.name} has no attention to show; use its saliency")
    found: list[BlockAttention] = []
    shapes: dict[nn.Module, tuple[int, ...]] = {}
    prefix = int(getattr(backbone, "num_prefix_tokens", 0))
    patch = encoder.stem_stride
    whole = (images.shape[-2] // patch, images.shape[-1] // patch)

    def remember(block: nn.Module, args: tuple[Any, ...]) -> None:
        shapes[block] = tuple(args[0].shape)

    def read(block: nn.Module, weights: Tensor) -> None:
        if len(shapes[block]) == 3:
            found.append(BlockAttention(weights, whole, prefix=prefix))
            return
        height, width = shapes[block][1:3]
        window, shift = (tuple(getattr(block, n)) for n in ("window_size", "shift_size"))
        found.append(BlockAttention(weights, (height, width), window, shift))

    with _unfused(blocks), ExitStack() as hooks:
        for block in blocks:
            hooks.enter_context(block.register_forward_pre_hook(remember))
            hooks.enter_context(
                block.attn.attn_drop.register_forward_hook(
                    lambda module, args, output, block=block: read(block, output)
                )
            )
        encoder.eval()(images)
    return found


def attention_of_last_block(encoder: MaskedEncoder, images: Tensor) -> Tensor:
    """``(B, heads, N, M)``: how much of the last block's attention each cell receives.

    From the class token where there is one, from the mean over all queries otherwise. Sums to the
    share that cells (not class or register tokens) receive.
    """
    last = attention_of_blocks(encoder, images)[-1]
    if not any(last.window):
        # MaskedEncoder pools cells, but the class token, where it exists, was trained to look.
        rows = last.weights[:, :, :1] if last.prefix else last.weights
        received = rows.mean(dim=2)[..., last.prefix :]  # (B, heads, N * M)
        return received.unflatten(2, last.grid)
    received = last.weights.mean(dim=2).transpose(1, 2)  # (B * windows, keys, heads)
    cells = _from_windows(received, last).permute(0, 3, 1, 2)  # (B, heads, N, M)
    return cells * len(images) / len(received)


def attention_rollout(encoder: MaskedEncoder, images: Tensor) -> Tensor:
    """``(B, N, M)``: attention followed from the output back to the patches, on the finest grid.

    Attention rollout (arXiv:2005.00928): each block is half identity, half its mean attention over
    heads; the product over blocks is followed from the class token, or from all cells alike. At
    Swin's patch merging, a cell passes on to the four that it was made of.
    """
    blocks = attention_of_blocks(encoder, images)
    last = blocks[-1]
    tokens = last.prefix + last.grid[0] * last.grid[1]
    flow = torch.full((len(images), tokens), 1 / tokens, device=images.device)
    if last.prefix:
        flow = torch.zeros_like(flow)
        flow[:, 0] = 1
    grid = last.grid
    for block in reversed(blocks):
        while grid != block.grid:
            cells = flow.unflatten(1, grid).repeat_interleave(2, 1).repeat_interleave(2, 2) / 4
            flow, grid = cells[:, : block.grid[0], : block.grid[1]].flatten(1), block.grid
        flow = (flow + _follow(flow, block)) / 2
    cells = flow[:, last.prefix :]
    return (cells / cells.sum(dim=1, keepdim=True)).unflatten(1, grid)


def embedding_saliency(encoder: MaskedEncoder, images: Tensor) -> Tensor:
    """``(B, N, M)`` in [0, 1]: what the pooled embedding is made of, for any backbone.

    Grad-CAM (arXiv:1610.02391) of half the squared norm of the pooled features, at the last
    feature map.
    """
    encoder.eval()
    with torch.enable_grad():
        dense = encoder(images).detach().requires_grad_()
        energy = encoder.pool(dense).square().sum() / 2
        (gradient,) = torch.autograd.grad(energy, dense)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    saliency = (weights * dense.detach()).sum(dim=1).clamp_min(0)
    return saliency / saliency.amax(dim=(1, 2), keepdim=True).clamp_min(1e-12)


def attention_figure(images: Tensor, maps: dict[str, Tensor]) -> Figure:
    """A row an image: the image, then each map laid over it.

    Args:
        images: ``(B, C, H, W)`` in [0, 1].
        maps: title to ``(B, N, M)``; each is scaled to its own range.
    """
    pictures = displayable(images)
    size = images.shape[-2:]
    figure = Figure(figsize=(2 * (len(maps) + 1), 2 * len(images) + 0.3), layout="constrained")
    axes = figure.subplots(len(images), len(maps) + 1, squeeze=False)
    for row, picture in enumerate(pictures):
        axes[row, 0].imshow(picture)
        for column, cells in enumerate(maps.values(), start=1):
            axes[row, column].imshow(picture.mean(axis=2), cmap="gray", vmin=0, vmax=1)
            axes[row, column].imshow(_smooth(cells[row], size), cmap="inferno", alpha=0.65)
    for axis, title in zip(axes[0], ("input", *maps), strict=True):
        axis.set_title(title, fontsize=9)
    for axis in axes.flat:
        axis.set_axis_off()
    return figure


def _smooth(cells: Tensor, size: torch.Size) -> np.ndarray:
    cells = cells[None, None].float()
    return F.interpolate(cells, tuple(size), mode="bicubic")[0, 0].cpu().numpy()


def _has_attention(module: nn.Module) -> bool:
    attention = getattr(module, "attn", None)
    return isinstance(getattr(attention, "attn_drop", None), nn.Module)


@contextmanager
def _unfused(blocks: list[nn.Module]) -> Iterator[None]:
    """Attention that computes its softmax in the open, where a model has both ways."""
    attentions = [b.attn for b in blocks if hasattr(b.attn, "fused_attn")]
    before = [a.fused_attn for a in attentions]
    for attention in attentions:
        attention.fused_attn = False
    try:
        yield
    finally:
        for attention, fused in zip(attentions, before, strict=True):
            attention.fused_attn = fused


def _padded(block: BlockAttention) -> tuple[int, int]:
    rows, columns = (-(-g // w) * w for g, w in zip(block.grid, block.window, strict=True))
    return rows, columns


def _follow(flow: Tensor, block: BlockAttention) -> Tensor:
    """One step back: ``(B, tokens)`` of the block's output to those of its input."""
    mean = block.weights.mean(dim=1)
    if not any(block.window):
        return torch.einsum("bq,bqk->bk", flow, mean)
    windows = _to_windows(flow.unflatten(1, block.grid)[..., None], block)[..., 0]
    back = torch.einsum("wq,wqk->wk", windows, mean)[..., None]
    return _from_windows(back, block)[..., 0].flatten(1)


def _to_windows(cells: Tensor, block: BlockAttention) -> Tensor:
    """``(B, N, M, D)`` to ``(B * windows, cells of a window, D)``: shifted, padded and cut."""
    height, width = _padded(block)
    cells = cells.roll((-block.shift[0], -block.shift[1]), (1, 2))
    cells = F.pad(cells, (0, 0, 0, width - cells.shape[2], 0, height - cells.shape[1]))
    return window_partition(cells, block.window).flatten(1, 2)


def _from_windows(windows: Tensor, block: BlockAttention) -> Tensor:
    """Undo `_to_windows`: ``(B, N, M, D)``; what lies in the padding is left out."""
    windows = windows.unflatten(1, block.window).contiguous()
    cells = window_reverse(windows, block.window, *_padded(block))
    return cells[:, : block.grid[0], : block.grid[1]].roll(block.shift, (1, 2))
