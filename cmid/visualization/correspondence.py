"""Dense features: matches between two images, similarity to a point, principal components."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch
from torch import Tensor

from cmid.models.encoder import MaskedEncoder
from cmid.visualization.reconstruction import displayable


@torch.no_grad()
def dense_features(encoder: MaskedEncoder, images: Tensor) -> Tensor:
    """``(B, D, N, M)`` L2-normalised features of every cell of standardised images."""
    return F.normalize(encoder.eval()(images).float(), dim=1)


def mutual_matches(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cells of two images that are each other's nearest neighbour.

    Args:
        first, second: ``(D, N, M)`` L2-normalised features.

    Returns:
        ``(K,)`` indices of cells (row by row) in both, and ``(K,)`` cosine similarities, best
        first.
    """
    similarity = first.flatten(1).T @ second.flatten(1)  # (cells of first, cells of second)
    forth, back = similarity.argmax(dim=1), similarity.argmax(dim=0)
    index = torch.arange(len(forth), device=forth.device)
    mutual = index[back[forth] == index]
    values = similarity[mutual, forth[mutual]]
    order = values.argsort(descending=True)
    return mutual[order], forth[mutual][order], values[order]


def similarity_to_cell(first: Tensor, second: Tensor, cell: tuple[int, int]) -> Tensor:
    """``(N, M)`` cosine similarity of the cells of ``second`` to one cell of ``first``.

    Raises:
        ValueError: the cell lies outside the grid.
    """
    rows, columns = first.shape[1:]
    if not (0 <= cell[0] < rows and 0 <= cell[1] < columns):
        raise ValueError(f"cell {cell} lies outside the grid of {rows}x{columns} cells")
    return torch.einsum("d,dnm->nm", first[:, cell[0], cell[1]], second)


def principal_components(dense: Tensor) -> Tensor:
    """First three principal components of all cells as colours.

    Args:
        dense: ``(B, D, N, M)``; one basis is found for all images, so that colours compare.

    Returns:
        ``(B, 3, N, M)`` in [0, 1], the 1st and 99th percentile of each component at 0 and 1.

    Raises:
        ValueError: fewer than four cells in all.
    """
    batch, _, rows, columns = dense.shape
    cells = dense.permute(0, 2, 3, 1).flatten(0, 2).float()  # (B * N * M, D)
    if len(cells) < 4:
        raise ValueError(f"{len(cells)} cells have no three components; use larger images or more")
    centred = cells - cells.mean(dim=0)
    # Cells are many more than channels, so not the decomposition of all of them.
    basis = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -3:].flip(1).T
    # The sign of a component is arbitrary; the same images shall give the same colours.
    basis = basis * basis.gather(1, basis.abs().argmax(dim=1, keepdim=True)).sign()
    values = centred @ basis.T
    low, high = (torch.quantile(values, q, dim=0) for q in (0.01, 0.99))
    scaled = ((values - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)
    return scaled.unflatten(0, (batch, rows, columns)).permute(0, 3, 1, 2)


def components_figure(images: Tensor, colours: Tensor) -> Figure:
    """Images above, their cells' principal components below.

    Args:
        images: ``(B, C, H, W)`` in [0, 1].
        colours: ``(B, 3, N, M)`` of `principal_components`.
    """
    figure = Figure(figsize=(2 * len(images), 4.2), layout="constrained")
    axes = figure.subplots(2, len(images), squeeze=False)
    for above, below, image, cells in zip(
        *axes, displayable(images), displayable(colours), strict=True
    ):
        above.imshow(image)
        below.imshow(cells, interpolation="nearest")
        above.set_axis_off()
        below.set_axis_off()
    axes[0, 0].set_title("input", fontsize=9, loc="left")
    axes[1, 0].set_title("principal components of dense features", fontsize=9, loc="left")
    return figure


def correspondence_figure(
    images: tuple[Tensor, Tensor],
    features: tuple[Tensor, Tensor],
    *,
    cell: tuple[int, int] | None = None,
    lines: int = 20,
) -> Figure:
    """Two images with their best mutual matches, and the similarity to one cell of the first.

    Args:
        images: two ``(C, H, W)`` in [0, 1].
        features: two ``(D, N, M)``, L2-normalised.
        cell: row and column in the first grid; the best matched one by default.
        lines: matches to draw.
    """
    forth, back, values = mutual_matches(*features)
    grids = [tuple(f.shape[1:]) for f in features]
    if cell is None:
        place = int(forth[0]) if len(forth) else 0
        cell = (place // grids[0][1], place % grids[0][1])
    heat = similarity_to_cell(*features, cell)
    figure = Figure(figsize=(11.5, 4), layout="constrained")
    left, right, map_axis = figure.subplots(1, 3)
    for axis, image in zip((left, right), images, strict=True):
        axis.imshow(displayable(image[None])[0])
    colours = _rainbow(min(lines, len(forth)))
    for number, colour in enumerate(colours):
        start = _centre(int(forth[number]), grids[0], images[0])
        end = _centre(int(back[number]), grids[1], images[1])
        line = ConnectionPatch(
            start, end, "data", "data", axesA=left, axesB=right, color=colour, lw=1, alpha=0.8
        )
        figure.add_artist(line)
        left.plot(*start, ".", color=colour)
        right.plot(*end, ".", color=colour)
    chosen = _centre(cell[0] * grids[0][1] + cell[1], grids[0], images[0])
    left.plot(*chosen, "*", color="white", markeredgecolor="black", markersize=14)
    extent = (-0.5, images[1].shape[2] - 0.5, images[1].shape[1] - 0.5, -0.5)
    map_axis.imshow(displayable(images[1][None])[0].mean(axis=2), cmap="gray", vmin=0, vmax=1)
    drawn = map_axis.imshow(
        heat.cpu().numpy(), extent=extent, cmap="inferno", alpha=0.7, interpolation="bilinear"
    )
    figure.colorbar(drawn, ax=map_axis, shrink=0.8, label="cosine similarity")
    best = f", best {float(values[0]):.2f}" if len(values) else ""
    left.set_title(f"{len(colours)} of {len(forth)} mutual matches{best}", fontsize=9)
    map_axis.set_title("similarity to the cell marked ★ in the first", fontsize=9)
    for axis in (left, right, map_axis):
        axis.set_axis_off()
    return figure


def _centre(place: int, grid: tuple[int, ...], image: Tensor) -> tuple[float, float]:
    """x and y in pixels of the centre of a cell."""
    row, column = divmod(place, grid[1])
    height, width = image.shape[1:]
    return (column + 0.5) * width / grid[1] - 0.5, (row + 0.5) * height / grid[0] - 0.5


def _rainbow(count: int) -> np.ndarray:
    from matplotlib import colormaps

    return colormaps["hsv"](np.linspace(0, 0.9, max(count, 1)))[:count]
