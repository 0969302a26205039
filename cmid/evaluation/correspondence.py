"""Correspondence: whether a cell of one crop finds its place in another crop of the image."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from cmid.checkpoints.backbones import Backbone
from cmid.data.checked import CheckedSource
from cmid.data.source import ImageSource
from cmid.evaluation.score import Score
from cmid.evaluation.tasks import Found
from cmid.models.evaluating import evaluating
from cmid.views.config import CropConfig
from cmid.views.crops import TwoViews
from cmid.views.geometry import cell_centres

_CROPS = CropConfig(quarter_turns=True)


def matching_cells(
    first: Tensor, second: Tensor, *, size: tuple[int, int], grid: tuple[int, int]
) -> Tensor:
    """Which cell of a second view holds the centre of each cell of a first view.

    Args:
        first, second: ``(B, 3, 3)`` from view pixels to source pixels.
        size: height and width of both views in pixels.
        grid: rows and columns of cells of both.

    Returns:
        ``(B, rows * columns)`` int64 places, row by row; -1 where the second view does not show
        that centre.
    """
    links = torch.linalg.inv(second.double()) @ first.double()
    x, y = cell_centres(links, size, grid).unbind(dim=-1)  # in pixels of the second view
    row, column = (y * grid[0] / size[0]).floor().long(), (x * grid[1] / size[1]).floor().long()
    shown = (row >= 0) & (row < grid[0]) & (column >= 0) & (column < grid[1])
    return torch.where(shown, row * grid[1] + column, -1)


def nearest_cells(first: Tensor, second: Tensor) -> Tensor:
    """Which cell of a second map is nearest to each cell of a first one, by cosine.

    Args:
        first, second: ``(B, D, N, M)`` features.

    Returns:
        ``(B, N * M)`` int64 places, row by row.
    """
    ours, theirs = (F.normalize(each.float().flatten(2), dim=1) for each in (first, second))
    return torch.einsum("bdm,bdn->bmn", ours, theirs).argmax(dim=2)


@torch.no_grad()
def correspondence_results(
    backbone: Backbone,
    source: ImageSource,
    *,
    size: int,
    crop: CropConfig = _CROPS,
    batch_size: int = 64,
    seed: int = 0,
    progress: str | None = None,
) -> Found:
    """How many cells of a random crop find their place in another one by their dense features.

    Two crops of each image; of each cell of the first whose centre the second shows, the nearest
    neighbour by cosine among all cells of the second. Crops depend on ``seed`` and the image's
    number alone, so that backbones compare. Colours are left as they are.

    Args:
        size: pixels per side of the crops, a multiple of the encoder's stride.
        crop: geometry of the crops; by default they are also flipped and turned.
        batch_size: images at a time.
        progress: title of a progress bar.

    Returns:
        Shares in [0, 1]: ``correspondence`` of cells whose neighbour is the matching cell,
        ``correspondence within 1 cell`` where it is that one or one of the eight around it; and
        for each the same behind `` chance``, what a cell drawn at random reaches.

    Raises:
        ValueError: a size that the stride does not divide, images of other bands or values than
            the backbone's statistics, or no cell that both crops of an image show.
    """
    statistics = backbone.standardize.statistics
    images = CheckedSource(source, statistics)
    views = TwoViews(size=size, block_size=size, mask_ratio=0, crop=crop)
    rows = []
    batches = torch.arange(len(images)).split(batch_size)
    with evaluating(backbone.encoder):
        for batch in tqdm(batches, desc=progress, unit="batch", disable=progress is None):
            drawn = [
                views.sample(images, index, np.random.default_rng([seed, index]))
                for index in batch.tolist()
            ]
            device = backbone.standardize.mean.device
            first, second = (
                backbone.encoder(
                    backbone.standardize(torch.stack([d["views"][k] for d in drawn]).to(device))
                )
                for k in (0, 1)
            )
            matrices = torch.stack([d["matrices"] for d in drawn])  # (B, 2, 3, 3)
            grid = (int(first.shape[2]), int(first.shape[3]))
            true = matching_cells(matrices[:, 0], matrices[:, 1], size=(size, size), grid=grid)
            rows.append(_counts(nearest_cells(first, second).cpu(), true, grid))
    counted = torch.cat(rows).numpy()  # (N, 4)
    cells = counted[:, 3].sum()
    if not cells:
        raise ValueError("no two crops of an image have a cell in common: nothing to match")
    exact, near, lucky = (counted[:, k] for k in range(3))
    name = "correspondence"
    return {
        name: Score("ratio", np.stack([exact, counted[:, 3]], axis=1)),
        f"{name} chance": 1 / (grid[0] * grid[1]),
        f"{name} within 1 cell": Score("ratio", np.stack([near, counted[:, 3]], axis=1)),
        f"{name} within 1 cell chance": float(lucky.sum() / cells),
    }


def _counts(found: Tensor, true: Tensor, grid: tuple[int, int]) -> Tensor:
    """``(B, 4)`` float64: exact hits, near hits, near hits expected by chance, cells that count."""
    counts = true >= 0
    rows, columns = true // grid[1], true % grid[1]
    away = (found // grid[1] - rows).abs().maximum((found % grid[1] - columns).abs())
    # A cell at the border has fewer neighbours.
    around = [
        1 + (at > 0).long() + (at < count - 1).long()
        for at, count in ((rows, grid[0]), (columns, grid[1]))
    ]
    lucky = around[0] * around[1] / (grid[0] * grid[1])
    parts = (found == true, away <= 1, lucky, counts)
    return torch.stack([(part * counts).double().sum(dim=1) for part in parts], dim=1)
