"""Region pooling equals RoI-align."""

from __future__ import annotations

import pytest
import torch
from torchvision.ops import roi_align

from cmid.vision_language.regions import pool_regions


def random_boxes(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(count, 2, generator=generator) * 0.7
    size = 0.05 + torch.rand(count, 2, generator=generator) * 0.4
    index = torch.randint(0, 3, (count, 1), generator=generator).float()
    return torch.cat([index, corner, corner + size], dim=1)


@pytest.mark.parametrize("bins", [None, (1, 1), (7, 3)])
def test_equals_roi_align(bins: tuple[int, int] | None) -> None:
    dense = torch.randn(3, 5, 6, 8, requires_grad=True)
    boxes = random_boxes(20)  # some of them reach beyond the border
    scaled = boxes * torch.tensor([1.0, 8, 6, 8, 6])
    expected = roi_align(
        dense, scaled, bins or (6, 8), spatial_scale=1.0, sampling_ratio=1, aligned=True
    ).mean(dim=(2, 3))
    pooled = pool_regions(dense, boxes, bins=bins)
    torch.testing.assert_close(pooled, expected)
    first = torch.autograd.grad(pooled.square().sum(), dense)[0]
    second = torch.autograd.grad(expected.square().sum(), dense)[0]
    torch.testing.assert_close(first, second)


def test_the_whole_image_is_the_mean_over_cells() -> None:
    dense = torch.randn(2, 5, 4, 4)
    whole = torch.tensor([[1.0, 0, 0, 1, 1]])
    torch.testing.assert_close(pool_regions(dense, whole)[0], dense[1].mean(dim=(1, 2)))


def test_no_regions_give_no_features_and_a_gradient_of_zero() -> None:
    dense = torch.randn(2, 5, 4, 4, requires_grad=True)
    pooled = pool_regions(dense, torch.zeros(0, 5))
    assert pooled.shape == (0, 5)
    pooled.sum().backward()
    assert dense.grad is not None
    assert dense.grad.abs().max() == 0
