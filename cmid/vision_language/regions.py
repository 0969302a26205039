"""Features of regions, pooled from a map that was computed once for the whole image."""

from __future__ import annotations

from torch import Tensor
from torchvision.ops import roi_align


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
    rows, columns = dense.shape[2:]
    scale = regions.new_tensor([1, columns, rows, columns, rows])
    samples = roi_align(
        dense.float(),  # torchvision has no 16 bits on a CPU
        (regions * scale).float(),
        bins or (rows, columns),
        sampling_ratio=1,
        aligned=True,
    )
    return samples.mean(dim=(2, 3)).to(dense.dtype)
