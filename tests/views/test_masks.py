from __future__ import annotations

from fractions import Fraction
from math import ceil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cmid.views import block_mask, expand_mask, fill_masked


@given(
    rows=st.integers(1, 14),
    columns=st.integers(1, 14),
    percent=st.integers(0, 100),
    seed=st.integers(0, 1000),
)
def test_exactly_the_stated_share_of_blocks_is_masked(
    rows: int, columns: int, percent: int, seed: int
) -> None:
    mask = block_mask((rows, columns), percent / 100, np.random.default_rng(seed))
    assert mask.shape == (rows, columns)
    assert int(mask.sum()) == ceil(Fraction(percent, 100) * rows * columns)


def test_published_mask_has_30_of_49_blocks() -> None:
    assert int(block_mask((7, 7), 0.6, np.random.default_rng(1)).sum()) == 30


def test_every_block_is_masked_sometimes() -> None:
    generator = np.random.default_rng(0)
    total = sum(block_mask((4, 4), 0.5, generator).int() for _ in range(200))
    assert total.min() > 60
    assert total.max() < 140


def test_expanded_mask_repeats_blocks() -> None:
    mask = torch.tensor([[[True, False], [False, True]]])
    pixels = expand_mask(mask, (6, 4))
    assert pixels.shape == (1, 1, 6, 4)
    assert pixels[0, 0, :3, :2].eq(1).all()
    assert pixels[0, 0, :3, 2:].eq(0).all()
    with pytest.raises(ValueError, match="does not divide"):
        expand_mask(mask, (5, 4))


def test_masked_pixels_take_the_mean_of_their_own_view_and_band() -> None:
    images = torch.randn(2, 3, 8, 8)
    pixels = expand_mask(torch.tensor([[[True, False], [False, False]]] * 2), (8, 8))
    filled = fill_masked(images, pixels)
    for image, result in zip(images, filled, strict=True):
        for band, other in zip(image, result, strict=True):
            torch.testing.assert_close(other[:4, :4], band.mean().expand(4, 4))
            assert torch.equal(other[4:], band[4:])
