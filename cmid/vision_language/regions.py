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
    if not len(index):
        return dense.new_zeros((0, dense.shape[1])) + 0 * dense.sum()  # stays in the graph
    rows, columns = bins or dense.shape[2:]
    y, x = ((torch.arange(n, device=dense.device) + 0.5) / n for n in (rows, columns))
    start, size = box[:, None, None, :2], (box[:, 2:] - box[:, :2])[:, None, None]
    points = start + size * torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
    samples = F.grid_sample(
        dense[index],
        (2 * points - 1).to(dense.dtype),  # (K, rows, columns, 2)
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    return samples.mean(dim=(2, 3))
