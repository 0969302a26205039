from __future__ import annotations

import numpy as np
import pytest
import torch

from cmid.data.values import (
    UINT8,
    BandScale,
    NotFiniteError,
    ValueKind,
    fill_missing,
    kind_of,
    missing_pixels,
    name_of_type,
)

KINDS = {
    "8 bits": UINT8,
    "16 bits": ValueKind("uint16"),
    "signed": ValueKind("int16"),
    "float": ValueKind("float32"),
    "unit range": ValueKind("float32", span="0 to 1"),
    "byte range": ValueKind("float32", span="0 to 255"),
    "scaled": ValueKind("uint16", scaled=True),
    "kelvin": ValueKind("int16", scaled=True, unit="K"),
    "metres": ValueKind("float32", unit="m"),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_text_of_a_kind_tells_all_of_it(kind: ValueKind) -> None:
    assert ValueKind.parse(str(kind)) == kind


@pytest.mark.parametrize(
    ("one", "other", "differs"),
    [
        ("8 bits", "8 bits", False),
        ("8 bits", "16 bits", True),
        ("8 bits", "float", True),
        ("16 bits", "signed", True),
        ("16 bits", "float", True),
        ("16 bits", "scaled", True),
        ("scaled", "float", False),
        ("scaled", "kelvin", False),
        ("kelvin", "metres", True),
        ("float", "unit range", False),
        ("unit range", "byte range", True),
    ],
)
def test_kinds_that_must_not_be_mixed(one: str, other: str, differs: bool) -> None:
    assert KINDS[one].differs(KINDS[other]) is differs
    assert KINDS[other].differs(KINDS[one]) is differs


@pytest.mark.parametrize(
    ("values", "span"),
    [
        ([0.0, 0.25, 0.9], "0 to 1"),
        ([0.0, 12.0, 255.0], "0 to 255"),
        ([0.0, 1.0, 1.0], ""),
        ([0.5, 12.25, 200.0], ""),
        ([-0.1, 0.5, 0.9], ""),
        ([0.0, 3.0, 300.0], ""),
    ],
)
def test_range_of_plain_floats_tells_their_scale(values: list[float], span: str) -> None:
    pixels = torch.tensor(values).view(1, 1, 3)
    assert kind_of(pixels) == ValueKind("float32", span=span)  # type: ignore[arg-type]
    assert kind_of(pixels, "uint16") == ValueKind("uint16")
    assert kind_of(pixels, unit="K") == ValueKind("float32", unit="K")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), -3.4e38, 2e30])
def test_numbers_that_no_image_has_are_refused(value: float) -> None:
    pixels = torch.ones(3, 4, 4)
    pixels[1, 2, 3] = value
    with pytest.raises(NotFiniteError, match="nodata value"):
        kind_of(pixels)


def test_types_that_are_no_numbers_are_refused() -> None:
    assert name_of_type(">u2") == "uint16"
    assert name_of_type("float64") == "float32"
    with pytest.raises(ValueError, match="complex64 is complex: write its magnitude"):
        name_of_type("complex64")
    with pytest.raises(ValueError, match="is no number"):
        name_of_type("S5")


def test_missing_pixels_take_the_mean_of_their_bands_others() -> None:
    array = np.array([[[1, 2], [9, 3]], [[9, 9], [9, 9]]], dtype=np.float32)
    missing = missing_pixels(array, [9, 9])
    filled = fill_missing(array.copy(), missing)
    assert filled[0].tolist() == [[1, 2], [2, 3]]
    assert filled[1].tolist() == [[0, 0], [0, 0]]
    assert missing_pixels(array.astype("f4"), [np.nan, None]).sum() == 0
    with_nan = np.array([[[np.nan, 1]], [[np.nan, 2]]])
    assert missing_pixels(with_nan, [np.nan, None]).tolist() == [[[True, False]], [[False, False]]]


def test_scale_is_applied_in_double_precision() -> None:
    stored = np.full((2, 1, 1), 2000, np.uint16)
    values = BandScale((1e-4, 1.0), (-0.1, 5.0)).apply(stored)
    assert values.dtype == np.float32
    assert values.ravel().tolist() == [np.float32(0.1), 2005.0]
