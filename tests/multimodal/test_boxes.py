"""Boxes as text, and images that are cut to what the model sees."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cmid.boxes import box_corners
from cmid.multimodal.boxes import BoxForm
from cmid.multimodal.images import Frame, as_pixels, fit_image

FORMS = [
    BoxForm(digits=4),
    BoxForm(cells=100),
    BoxForm(cells=1000, tag="bbox"),
    BoxForm(cells=1000, shape="polygon"),
    BoxForm(cells=1000, shape="oriented"),
]
side = st.floats(0, 1)


def test_boxes_are_written_as_published() -> None:
    box = np.array([[0.14, 0.6], [0.36, 0.8]])
    assert BoxForm().write(box) == "[0.14,0.60,0.36,0.80]"
    assert BoxForm(tag="bbox").write(box) == "<bbox>[0.14,0.60,0.36,0.80]</bbox>"
    assert BoxForm(cells=100).write(box) == "[14,60,36,80]"
    assert BoxForm(cells=100, shape="oriented").write(box) == "{<14><60><36><80>|<0>}"


def test_zero_has_no_sign() -> None:
    turned = BoxForm(shape="oriented").write(box_corners((0.1, 0.1, 0.205, 0.1, 0.0)))
    assert turned == "{<0.00><0.05><0.20><0.15>|<0>}"


@pytest.mark.parametrize("form", FORMS)
@given(x0=side, y0=side, x1=side, y1=side)
def test_what_is_written_is_read_again(
    form: BoxForm, x0: float, y0: float, x1: float, y1: float
) -> None:
    box = np.array([[min(x0, x1), min(y0, y1)], [max(x0, x1), max(y0, y1)]])
    found = form.parse(f"The box is {form.write(box)}.")
    assert found is not None
    (corners,) = found
    step = 1 / form.cells if form.cells > 1 else 10.0**-form.digits
    assert np.abs(corners.min(axis=0) - box[0]).max() <= 0.51 * step
    assert np.abs(corners.max(axis=0) - box[1]).max() <= 0.51 * step


def test_turned_boxes_are_read_as_they_were() -> None:
    corners = box_corners((0.5, 0.4, 0.3, 0.1, 0.5))
    for shape in ("oriented", "polygon"):
        form = BoxForm(cells=1000, shape=shape)  # type: ignore[arg-type]
        (found,) = form.parse(form.write(corners)) or []
        distance = np.linalg.norm(found[:, None] - corners[None], axis=2).min(axis=1)
        assert distance.max() < 4e-3


def test_none_several_and_unreadable_boxes_are_told_apart() -> None:
    form = BoxForm(cells=100)
    assert form.parse("there is none") == []
    assert len(form.parse("[1,2,3,4] and [5,6,7,8]") or []) == 2
    assert form.parse("[1,2,3]") is None
    assert form.parse("[left,top]") is None


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_boxes_follow_the_image(fit: Any) -> None:
    image = torch.zeros(1, 40, 80)
    image[:, 10:20, 30:50] = 255
    seen = fit_image(image, 160, fit)
    assert seen.shape == (1, 160, 160)
    rows, columns = (seen[0] > 127).any(dim=1).nonzero(), (seen[0] > 127).any(dim=0).nonzero()
    where = np.array([[columns.min(), rows.min()], [columns.max() + 1, rows.max() + 1]]) / 160
    whole = np.array([[30 / 80, 10 / 40], [50 / 80, 20 / 40]])
    frame = Frame(fit, 40, 80)
    np.testing.assert_allclose(frame.to_seen(whole), where, atol=0.015)
    np.testing.assert_allclose(frame.to_whole(frame.to_seen(whole)), whole)


def test_images_of_any_kind_are_read(tmp_path: Any) -> None:
    from PIL import Image

    array = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    picture = Image.fromarray(array)
    picture.save(tmp_path / "image.png")
    wanted = torch.from_numpy(array).permute(2, 0, 1)
    for image in (array, picture, tmp_path / "image.png", wanted):
        assert torch.equal(as_pixels(image), wanted)
    with pytest.raises(ValueError, match=r"takes \(4, H, W\)"):
        as_pixels(array, bands=4)
