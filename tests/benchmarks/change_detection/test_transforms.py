from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

pytest.importorskip("mmcv._ext", reason="extra openmmlab is not installed")

from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mmseg.registry import TRANSFORMS

import benchmarks.change_detection  # noqa: F401

SYMMETRIES = [
    {"type": "RandomRotFlip", "rotate_prob": 0.0, "flip_prob": 1.0},
    {"type": "RandomFlip", "prob": 0.5},
]


@pytest.fixture(autouse=True)
def _scope() -> None:
    init_default_scope("mmseg")


def label_at(row: NDArray[Any], column: NDArray[Any]) -> NDArray[Any]:
    return (3 * row // 2 + 5 * column) % 2


def located(height: int, width: int) -> dict[str, Any]:
    """A pair whose pixels tell their row, column and date, and a label that follows from them."""
    row, column = np.indices((height, width), dtype=np.uint8)
    dates = [np.stack([row, column, np.full_like(row, date)], axis=-1) for date in (1, 2)]
    return {
        "img": np.concatenate(dates, axis=-1),
        "img_shape": (height, width),
        "gt_seg_map": label_at(row.astype(int), column.astype(int)).astype(np.uint8),
        "seg_fields": ["gt_seg_map"],
    }


def seed(value: int) -> None:
    random.seed(value)
    np.random.seed(value)


@settings(max_examples=60, deadline=None)
@given(st.integers(9, 40), st.integers(9, 40), st.integers(1, 48), st.integers(0, 2**32 - 1))
def test_both_dates_and_the_label_stay_together(
    height: int, width: int, crop: int, number: int
) -> None:
    init_default_scope("mmseg")
    seed(number)
    pipeline = Compose(
        [
            {"type": "CropRegion", "top": 1, "left": 2, "bottom": height - 1, "right": width},
            {"type": "RandomCrop", "crop_size": (crop, crop)},
            *SYMMETRIES,
            {"type": "RandomDateSwap", "prob": 0.5},
        ]
    )
    result = pipeline(located(height, width))
    first, second = np.split(result["img"].astype(int), 2, axis=-1)
    np.testing.assert_array_equal(first[..., :2], second[..., :2])
    assert (first[..., 2] + second[..., 2] == 3).all()
    assert len(np.unique(first[..., 2])) == 1
    np.testing.assert_array_equal(result["gt_seg_map"], label_at(first[..., 0], first[..., 1]))
    sides = min(crop, height - 2), min(crop, width - 2)
    assert sorted(result["gt_seg_map"].shape) == sorted(sides)


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from([1, 3, 6]),
    st.sampled_from([np.uint8, np.float32]),
    st.tuples(st.integers(5, 60), st.integers(5, 60)),
)
def test_resizing_a_pair_resizes_each_date(bands: int, dtype: type, scale: tuple[int, int]) -> None:
    init_default_scope("mmseg")
    values = np.random.default_rng(0).uniform(0, 255, (31, 22, 2 * bands)).astype(dtype)
    resize = TRANSFORMS.build({"type": "Resize", "scale": scale})
    pair = resize({"img": values, "seg_fields": []})["img"]
    for date, alone in zip(np.split(pair, 2, -1), np.split(values, 2, -1), strict=True):
        expected = resize({"img": np.ascontiguousarray(alone), "seg_fields": []})["img"]
        np.testing.assert_allclose(date, expected.reshape(date.shape), atol=1e-3)


def test_all_symmetries_of_the_square_are_as_frequent() -> None:
    pipeline = Compose(SYMMETRIES)
    seed(0)
    counts = Counter(pipeline(located(9, 9))["img"].tobytes() for _ in range(800))
    assert len(counts) == 8
    assert min(counts.values()) > 65


def test_colour_is_distorted_for_each_date_alone() -> None:
    date = np.random.default_rng(0).integers(30, 200, (16, 16, 3), dtype=np.uint8)
    colour = {"type": "PhotoMetricDistortion"}
    seed(3)
    result = Compose([{"type": "EachDate", "transforms": [colour]}])(
        {"img": np.concatenate([date, date], axis=-1), "gt_seg_map": "untouched"}
    )
    first, second = np.split(result["img"], 2, axis=-1)
    assert not np.array_equal(first, second)
    seed(3)
    np.testing.assert_array_equal(first, Compose([colour])({"img": date})["img"])
    assert result["gt_seg_map"] == "untouched"


def test_bands_are_distorted_as_well() -> None:
    date = np.random.default_rng(0).normal(10, 3, (16, 16, 5)).astype(np.float32)
    distort = {"type": "BandPhotometricDistortion", "prob": 1.0}
    pair = np.concatenate([date, date], axis=-1)
    result = Compose([{"type": "EachDate", "transforms": [distort]}])({"img": pair.copy()})["img"]
    assert result.shape == pair.shape
    assert not np.allclose(*np.split(result, 2, axis=-1))


def test_transforms_refuse_what_does_not_fit() -> None:
    resize = {"type": "EachDate", "transforms": [{"type": "Resize", "scale": (4, 4)}]}
    with pytest.raises(ValueError, match="EachDate is for colour"):
        Compose([resize])(located(9, 9))
    crop = {"type": "CropRegion", "top": 0, "left": 0, "bottom": 10, "right": 5}
    with pytest.raises(ValueError, match=r"a\.png is 9 x 9: CropRegion reaches to row 10"):
        Compose([crop])({**located(9, 9), "img_path": "a.png"})
    with pytest.raises(ValueError, match="no region of rows 3 to 3"):
        TRANSFORMS.build({**crop, "top": 3, "bottom": 3})
