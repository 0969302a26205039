"""Random block masks with an exact number of masked blocks."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


def num_masked_blocks(blocks: int, ratio: float) -> int:
    """``ceil(ratio * blocks)``, safe against rounding of the product (0.6 * 5 is 3, not 4)."""
    return math.ceil(round(ratio * blocks, 6))


def block_mask(grid: tuple[int, int], ratio: float, generator: np.random.Generator) -> Tensor:
    """Draw a mask of ``grid`` blocks, exactly ``ceil(ratio * blocks)`` of them True.

    Args:
        grid: rows and columns of blocks.
        ratio: share of blocks to mask, in [0, 1].

    Returns:
        ``grid``-shaped bool tensor.

    Example:
        >>> int(block_mask((7, 7), 0.6, np.random.default_rng(0)).sum())
        30
    """
    if not 0 <= ratio <= 1:
        raise ValueError(f"mask ratio {ratio} is not in [0, 1]")
    blocks = grid[0] * grid[1]
    mask = np.zeros(blocks, dtype=bool)
    mask[generator.permutation(blocks)[: num_masked_blocks(blocks, ratio)]] = True
    return torch.from_numpy(mask.reshape(grid))


def fill_masked(images: Tensor, pixel_mask: Tensor) -> Tensor:
    """Replace masked pixels by the view's own per-channel mean.

    Args:
        images: ``(B, C, H, W)``.
        pixel_mask: ``(B, 1, H, W)``, 1 where masked.
    """
    mean = images.mean(dim=(-2, -1), keepdim=True)
    return torch.where(pixel_mask > 0, mean, images)


def expand_mask(mask: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Bring a block mask ``(B, h, w)`` to pixels ``(B, 1, H, W)``, float32.

    Raises:
        ValueError: ``size`` is not a multiple of the mask's grid.
    """
    height, width = size
    rows, columns = mask.shape[-2:]
    if height % rows or width % columns:
        raise ValueError(
            f"mask of {rows} x {columns} blocks does not divide an image of {height} x {width}"
            " pixels: choose a block size that divides the image size"
        )
    mask = mask.float().unsqueeze(1)
    return mask.repeat_interleave(height // rows, -2).repeat_interleave(width // columns, -1)
