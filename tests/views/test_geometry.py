"""Matrices tell where every pixel of a view comes from, whatever was cropped, flipped, turned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cmid.data.source import Image, ImageSource
from cmid.views import CropConfig, TwoViews, cell_centres, gather_cells, match_positions


class PositionImages(ImageSource):
    """Images whose values are the positions of their pixels: band 0 is x, band 1 is y.

    With ``reduced`` they come as a decoder would hand them out at half the stored scale.
    """

    num_bands = 3

    def __init__(self, height: int, width: int, *, reduced: bool = False) -> None:
        self.height, self.width, self.reduced = height, width, reduced

    def __len__(self) -> int:
        return 1000

    def read(
        self,
        index: int,
        *,
        min_size: tuple[float, float] | None = None,
        generator: np.random.Generator | None = None,
    ) -> Image:
        step = 2 if self.reduced else 1
        x = (torch.arange(self.width // step) + 0.5) * step
        y = (torch.arange(self.height // step) + 0.5) * step
        grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
        pixels = torch.stack([grid_x, grid_y, torch.zeros_like(grid_x)])
        return Image(pixels, (self.height, self.width))


TURNING = CropConfig(quarter_turns=True)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 10_000),
    size=st.sampled_from([(256, 256), (200, 320), (300, 180)]),
    reduced=st.booleans(),
)
def test_matrices_map_view_pixels_to_the_source(
    seed: int, size: tuple[int, int], reduced: bool
) -> None:
    views = TwoViews(size=64, block_size=16, crop=TURNING)
    source = PositionImages(*size, reduced=reduced)
    sample = views.sample(source, 0, np.random.default_rng(seed))
    every_pixel = cell_centres(sample["matrices"], (64, 64), (64, 64))
    for view, positions in zip(sample["views"], every_pixel, strict=True):
        # Bicubic interpolation of a ramp is exact away from the border of the crop.
        inside = (slice(None), slice(4, -4), slice(4, -4))
        expected = positions.T.reshape(2, 64, 64)[inside]
        torch.testing.assert_close(view[:2][inside], expected, atol=0.3, rtol=0)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), turns=st.booleans())
def test_matched_cells_show_the_same_place_within_half_a_cell(seed: int, turns: bool) -> None:
    views = TwoViews(size=224, block_size=32, crop=CropConfig(quarter_turns=turns))
    sample = views.sample(PositionImages(300, 300), 0, np.random.default_rng(seed))
    centres = cell_centres(sample["matrices"], (224, 224), (7, 7))
    first, second = centres[:1], centres[1:]
    index_first, index_second = match_positions(first, second, 5)
    # What the pictures themselves say: the mean value of a cell is the position of its centre.
    seen = sample["views"][:, :2].unflatten(3, (7, 32)).unflatten(2, (7, 32)).mean((3, 5))
    seen_first, seen_second = seen.flatten(2)  # (2, 49)
    step = np.abs(sample["matrices"].numpy()[:, :2, :2]).sum(axis=2).max() * 32
    corners = torch.linalg.inv(sample["matrices"]) @ torch.cat(
        [seen_first[:, index_first[0]], torch.ones(1, 5)]
    )
    inside = ((corners[1, :2] > 0) & (corners[1, :2] < 224)).all(0)
    gap = (seen_first[:, index_first[0]] - seen_second[:, index_second[0]]).abs().amax(0)
    assert (gap[inside] <= step / 2 + 1).all()
    torch.testing.assert_close(seen_first, first[0].T, atol=1.0, rtol=0)


def brute_force(a: np.ndarray, b: np.ndarray, num_matches: int) -> tuple[list[int], list[int]]:
    distance = np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))
    order = sorted(range(len(a)), key=lambda i: (distance[i].min(), i))
    kept = sorted(order[:num_matches])
    return kept, [int(distance[i].argmin()) for i in kept]


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    cells=st.integers(1, 30),
    others=st.integers(1, 30),
    num_matches=st.integers(1, 40),
)
def test_matching_equals_brute_force_with_ties(
    seed: int, cells: int, others: int, num_matches: int
) -> None:
    generator = np.random.default_rng(seed)
    # Few distinct coordinates, so that ties are common.
    a = generator.integers(0, 4, (2, cells, 2)).astype(np.float32)
    b = generator.integers(0, 4, (2, others, 2)).astype(np.float32)
    index_a, index_b = match_positions(torch.from_numpy(a), torch.from_numpy(b), num_matches)
    assert index_a.shape == index_b.shape == (2, min(num_matches, cells))
    for i in range(2):
        assert (index_a[i].tolist(), index_b[i].tolist()) == brute_force(a[i], b[i], num_matches)


def test_gather_cells_picks_columns() -> None:
    features = torch.randn(2, 5, 9)
    index = torch.tensor([[0, 8, 3], [1, 1, 2]])
    picked = gather_cells(features, index)
    for i in range(2):
        assert torch.equal(picked[i], features[i][:, index[i]])


def test_positions_are_exact_under_autocast() -> None:
    matrix = torch.eye(3)[None] * torch.tensor([3.3, 3.3, 1.0])[:, None]
    plain = cell_centres(matrix, (224, 224), (7, 7))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(cell_centres(matrix, (224, 224), (7, 7)), plain)


def test_crops_respect_scale_and_ratio() -> None:
    views = TwoViews(size=32, block_size=8, crop=CropConfig(scale=(0.3, 0.5), flip=0))
    for seed in range(50):
        sample = views.sample(PositionImages(400, 400), 0, np.random.default_rng(seed))
        width, height = (sample["matrices"][:, i, i] * 32 for i in (0, 1))
        share = width * height / 400**2
        assert ((share > 0.29) & (share < 0.51)).all()
        assert ((width / height > 0.74) & (width / height < 1.35)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 64, "block_size": 24}, "does not divide"),
        ({"mask_ratio": 1.5}, "mask_ratio"),
    ],
)
def test_impossible_views_are_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TwoViews(**arguments)  # type: ignore[arg-type]


def test_impossible_crops_are_refused() -> None:
    with pytest.raises(ValueError, match="scale"):
        CropConfig(scale=(0.0, 1.0))


class TwoDates(ImageSource):
    """One place whose pixels are 1 at the first date and 2 at the second."""

    def __len__(self) -> int:
        return 1

    def read(self, index: int, *, min_size: Any = None, generator: Any = None) -> Image:
        first = torch.ones(3, 32, 32, dtype=torch.uint8)
        return Image(first, (32, 32), second_date=2 * first)


def test_each_view_of_two_dates_shows_one_of_them() -> None:
    views = TwoViews(size=16, block_size=8)
    orders = [
        views.sample(TwoDates(), 0, np.random.default_rng(seed))["views"].float().mean((1, 2, 3))
        for seed in range(40)
    ]
    firsts = [tuple(order.tolist()) for order in orders]
    assert set(firsts) == {(1.0, 2.0), (2.0, 1.0)}
    assert 10 < firsts.count((1.0, 2.0)) < 30
