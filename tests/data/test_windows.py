"""Windows: every pixel is covered, none reaches further than it should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmid.data.windows import Window, cut, draw_window, fill_up, tile

SIDE = st.integers(1, 60)


@given(SIDE, SIDE, SIDE, SIDE, st.booleans())
def test_windows_cover_every_pixel(
    height: int, width: int, size: int, stride: int, moved: bool
) -> None:
    stride = min(size, stride)
    windows = tile(height, width, size=size, stride=stride, moved=moved)
    covered = np.zeros((height, width), dtype=int)
    for window in windows:
        covered[window.slices] += 1
        assert window[2:] == (size, size)
        assert min(window.inside(height, width)[2:]) >= 1
        if moved and size <= min(height, width):
            assert window.inside(height, width) == window
    assert covered.min() >= 1
    assert windows == sorted(set(windows))
    if stride == size and not moved:
        assert covered.max() == 1


def test_a_stride_that_leaves_gaps_is_refused() -> None:
    with pytest.raises(ValueError, match="windows of 8 with stride 9 do not cover 20 pixels"):
        tile(20, 30, size=8, stride=9)


@given(SIDE, SIDE, SIDE, st.integers(0, 2**31))
def test_drawn_windows_are_the_largest_squares_inside(
    height: int, width: int, size: int, seed: int
) -> None:
    window = draw_window(height, width, size, np.random.default_rng(seed))
    assert window.height == window.width == min(size, height, width)
    assert window.inside(height, width) == window


def test_pixels_beyond_the_border_take_the_fill_of_their_band() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    window = Window(1, 2, 2, 3)
    assert window.box == (2, 1, 5, 3)
    tile_of = cut(pixels, window, fill=(7, 8, 9))
    assert tile_of.shape == (2, 3, 3)
    np.testing.assert_array_equal(tile_of[0, :2], pixels[1, 2:])
    assert (tile_of[1] == (7, 8, 9)).all()
    assert (tile_of[0, 2] == (7, 8, 9)).all()
    assert fill_up(pixels, (2, 4), 0) is pixels
