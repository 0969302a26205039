"""Features of regions, pooled from a map that was computed once for the whole image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def pool_regions(dense: Tensor, regions: Tensor, *, bins: tuple[int, int] | None = None) -> Tensor:
    """Mean of bilinear samples of upright boxes: RoI-align, aligned, one sample per bin.

    A box that is the whole image gives the mean over all cells.

    Args:
        dense: ``(B, E, N, M)``.
        regions: ``(K, 5)``: index of the image, then x0, y0, x1, y1 as fractions of it.
        bins: rows and columns of samples; by default as many as the map has cells.

    Returns:
        ``(K, E)``, not normalised, in the dtype of ``dense``.
    """
    index, box = regions[:, 0].long(), regions[:, 1:].to(torch.float32)
    x, y = _bin_centres(bins or _grid(dense), box)
    across = (box[:, 2] - box[:, 0])[:, None, None]
    down = (box[:, 3] - box[:, 1])[:, None, None]
    points = torch.stack(
        [box[:, 0, None, None] + x * across, box[:, 1, None, None] + y * down], dim=-1
    )  # (K, rows, columns, 2)
    return _mean_at(dense, index, points)


def pool_oriented_regions(
    dense: Tensor, regions: Tensor, *, size: tuple[int, int], bins: tuple[int, int] | None = None
) -> Tensor:
    """`pool_regions` for rotated boxes.

    Args:
        dense: ``(B, E, N, M)``.
        regions: ``(K, 6)``: index of the image, centre x and y, width, height in pixels, and the
            clockwise angle in radians from the x axis to the width's side.
        size: height and width of the image in pixels.
        bins: rows (along the height) and columns (along the width) of samples.

    Returns:
        ``(K, E)``.
    """
    index, box = regions[:, 0].long(), regions[:, 1:].to(torch.float32)
    x, y = _bin_centres(bins or _grid(dense), box)
    along = (x - 0.5) * box[:, 2, None, None]
    across = (y - 0.5) * box[:, 3, None, None]
    cos, sin = box[:, 4].cos()[:, None, None], box[:, 4].sin()[:, None, None]
    points = torch.stack(
        [
            (box[:, 0, None, None] + along * cos - across * sin) / size[1],
            (box[:, 1, None, None] + along * sin + across * cos) / size[0],
        ],
        dim=-1,
    )
    return _mean_at(dense, index, points)


def _grid(dense: Tensor) -> tuple[int, int]:
    return dense.shape[2], dense.shape[3]


def _bin_centres(bins: tuple[int, int], like: Tensor) -> tuple[Tensor, Tensor]:
    """Centres of bins as fractions of a box: x and y, both ``(1, rows, columns)``."""
    rows, columns = (torch.arange(n, device=like.device) for n in bins)
    y, x = (rows + 0.5) / bins[0], (columns + 0.5) / bins[1]
    grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
    return grid_x[None], grid_y[None]


def _mean_at(dense: Tensor, index: Tensor, points: Tensor) -> Tensor:
    """Mean of bilinear samples at ``(K, rows, columns, 2)`` positions in [0, 1]."""
    if not len(index):
        return dense.new_zeros((0, dense.shape[1])) + 0 * dense.sum()  # stays in the graph
    samples = F.grid_sample(
        dense[index],
        (2 * points - 1).to(dense.dtype),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    return samples.mean(dim=(2, 3))
