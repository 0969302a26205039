"""Cells of two crops that show the same place, and how many of them features find."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from cmid.checkpoints import load_backbone
from cmid.checkpoints.backbones import Backbone
from cmid.data.source import Image, ImageSource
from cmid.evaluation.correspondence import (
    correspondence_results,
    matching_cells,
    nearest_cells,
)
from cmid.evaluation.score import Score
from cmid.views.config import CropConfig
from cmid.views.geometry import crop_matrix, flip_matrix, quarter_turn_matrix

WHOLE = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0)}


class Noise(ImageSource):
    """Images of random pixels, no two cells of which are alike."""

    def __len__(self) -> int:
        return 12

    def decode(self, index: int, min_size: object, generator: object) -> Image:
        rng = np.random.default_rng(index)
        pixels = torch.from_numpy(rng.integers(0, 256, (3, 64, 64), dtype=np.uint8))
        return Image(pixels, (64, 64), label=0)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone("random:test_resnet", img_size=64)


def matrices(*each: np.ndarray) -> Tensor:
    return torch.from_numpy(np.stack(each)).float()


def share(found: object) -> float:
    assert isinstance(found, Score)
    return found.value


def test_cells_of_the_same_crop_match_themselves() -> None:
    one = matrices(crop_matrix(3, 5, 0.7, 1.3))
    found = matching_cells(one, one, size=(32, 32), grid=(4, 4))
    assert found.tolist() == [list(range(16))]


def test_flipped_and_turned_cells_match_where_they_went() -> None:
    plain = matrices(np.eye(3))
    flipped = matching_cells(plain, matrices(flip_matrix(32)), size=(32, 32), grid=(2, 2))
    assert flipped.tolist() == [[1, 0, 3, 2]]
    turned = matrices(quarter_turn_matrix(1, 32))
    # numpy.rot90 brings the upper right corner to the upper left.
    assert matching_cells(plain, turned, size=(32, 32), grid=(2, 2)).tolist() == [[2, 0, 3, 1]]


def test_cells_that_the_other_crop_does_not_show_match_none() -> None:
    left, right = matrices(np.eye(3)), matrices(crop_matrix(16, 0, 1, 1))
    found = matching_cells(left, right, size=(32, 32), grid=(2, 2))
    assert found.tolist() == [[-1, 0, -1, 2]]
    coarse = matching_cells(left, matrices(crop_matrix(0, 0, 2, 2)), size=(32, 32), grid=(2, 2))
    assert coarse.tolist() == [[0, 0, 0, 0]]


def test_nearest_cells_are_nearest_by_cosine_whatever_their_length() -> None:
    first = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).reshape(1, 2, 1, 2)
    second = torch.tensor([[0.1, 9.0], [5.0, 0.0]]).reshape(1, 2, 1, 2)
    assert nearest_cells(first, second).tolist() == [[1, 0]]


def test_identical_crops_correspond_everywhere(backbone: Backbone) -> None:
    same = CropConfig(**WHOLE, flip=0)
    found = correspondence_results(backbone, Noise(), size=64, crop=same)
    assert share(found["correspondence"]) == 1
    assert share(found["correspondence within 1 cell"]) == 1
    rows = found["correspondence"]
    assert isinstance(rows, Score)
    assert rows.kind == "ratio"
    assert rows.rows.tolist() == [[4, 4]] * 12  # of stride 32


def test_features_that_know_their_pixels_correspond_in_turned_crops(backbone: Backbone) -> None:
    class Means(torch.nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.nn.functional.avg_pool2d(images, 8)

    known = Backbone("means", Means(), backbone.standardize)  # type: ignore[arg-type]
    turned = CropConfig(**WHOLE, flip=0.5, quarter_turns=True)
    found = correspondence_results(known, Noise(), size=64, crop=turned)
    assert share(found["correspondence"]) == 1


def test_features_of_nothing_are_right_by_chance(backbone: Backbone) -> None:
    generator = torch.Generator().manual_seed(0)

    class Nothing(torch.nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.randn(len(images), 32, 8, 8, generator=generator)

    lost = Backbone("nothing", Nothing(), backbone.standardize)  # type: ignore[arg-type]
    found = correspondence_results(lost, Noise(), size=64)
    cells = found["correspondence"]
    assert isinstance(cells, Score)
    assert 0 < cells.rows[:, 1].sum() < 12 * 64
    assert found["correspondence chance"] == 1 / 64
    near = found["correspondence within 1 cell chance"]
    assert isinstance(near, float)
    assert 4 / 64 < near < 9 / 64
    assert cells.value == pytest.approx(1 / 64, abs=0.03)
    assert share(found["correspondence within 1 cell"]) == pytest.approx(near, abs=0.05)


def test_crops_are_the_same_for_every_backbone_and_batch(backbone: Backbone) -> None:
    first, second = (
        correspondence_results(backbone, Noise(), size=64, batch_size=n) for n in (5, 12)
    )
    for name in ("correspondence", "correspondence within 1 cell"):
        ours, theirs = first[name], second[name]
        assert isinstance(ours, Score)
        assert isinstance(theirs, Score)
        assert ours.rows.tolist() == theirs.rows.tolist()
