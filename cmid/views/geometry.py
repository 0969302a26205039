"""Geometry of views: 3x3 matrices from view pixels to source pixels, and what follows from them.

Coordinates are ``(x, y)`` in pixels, the centre of the first pixel at ``(0.5, 0.5)``; matrices act
on columns ``(x, y, 1)``.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def crop_matrix(left: float, top: float, scale_x: float, scale_y: float) -> np.ndarray:
    """Matrix of a crop: view pixel ``(x, y)`` lies at ``(left + scale_x x, top + scale_y y)``."""
    return np.array([[scale_x, 0, left], [0, scale_y, top], [0, 0, 1]], dtype=np.float64)


def flip_matrix(size: int) -> np.ndarray:
    """Matrix of a horizontal flip of a view ``size`` pixels wide."""
    return np.array([[-1, 0, size], [0, 1, 0], [0, 0, 1]], dtype=np.float64)


def quarter_turn_matrix(turns: int, size: int) -> np.ndarray:
    """Matrix of ``turns`` counter-clockwise quarter turns (``numpy.rot90``) of a square view."""
    once = np.array([[0, -1, size], [1, 0, 0], [0, 0, 1]], dtype=np.float64)
    return np.linalg.matrix_power(once, turns % 4)


def cell_centres(matrix: Tensor, size: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """Centres of a view's grid cells in source pixels.

    Args:
        matrix: ``(B, 3, 3)`` from view pixels to source pixels.
        size: height and width of the view in pixels.
        grid: rows and columns of cells.

    Returns:
        ``(B, rows * columns, 2)`` float32 positions ``(x, y)``, row by row.
    """
    rows, columns = grid
    y = (torch.arange(rows, device=matrix.device, dtype=torch.float32) + 0.5) * (size[0] / rows)
    x = torch.arange(columns, device=matrix.device, dtype=torch.float32) + 0.5
    x = x * (size[1] / columns)
    grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
    points = torch.stack([grid_x, grid_y, torch.ones_like(grid_x)], dim=-1).reshape(-1, 3)
    # Written out, not a matrix product: autocast would round positions to 16 bits.
    return (matrix.float()[:, None, :2, :] * points[None, :, None, :]).sum(-1)  # (B, M, 2)


def match_positions(
    positions_a: Tensor, positions_b: Tensor, num_matches: int
) -> tuple[Tensor, Tensor]:
    """For each cell of ``a`` find the nearest of ``b``, and keep the closest pairs.

    Args:
        positions_a: ``(B, M, 2)``.
        positions_b: ``(B, N, 2)``.
        num_matches: number of pairs to keep; at most ``M`` are there.

    Returns:
        ``(index_a, index_b)``, both ``(B, min(num_matches, M))`` int64; ``index_a`` ascends. Ties
        are broken by index.
    """
    distance = torch.cdist(
        positions_a.float(), positions_b.float(), compute_mode="donot_use_mm_for_euclid_dist"
    )  # (B, M, N)
    nearest, partner = distance.min(dim=2)
    order = nearest.sort(dim=1, stable=True).indices[:, :num_matches]
    index_a = order.sort(dim=1).values
    return index_a, partner.gather(1, index_a)


def gather_cells(features: Tensor, index: Tensor) -> Tensor:
    """Pick cells: ``(B, D, M)`` features and ``(B, K)`` indices give ``(B, D, K)``.

    In memory each cell's features lie together, as those of channels_last maps do.
    """
    rows = features.transpose(1, 2)  # (B, M, D)
    return rows.gather(1, index[:, :, None].expand(-1, -1, rows.shape[2])).transpose(1, 2)
