"""Regions are pooled where they lie."""

from __future__ import annotations

import pytest
import torch

from cmid.vision_language.regions import pool_regions

CLOSE = {torch.float32: {"rtol": 1e-5, "atol": 1e-5}, torch.bfloat16: {"rtol": 0.02, "atol": 0.03}}


def random_boxes(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(count, 2, generator=generator) * 0.7
    size = 0.05 + torch.rand(count, 2, generator=generator) * 0.4
    index = torch.randint(0, 3, (count, 1), generator=generator).float()
    return torch.cat([index, corner, corner + size], dim=1)


@pytest.mark.parametrize("bins", [None, (1, 1), (7, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_of_a_map_that_rises_evenly_it_is_the_value_at_the_centre(
    bins: tuple[int, int] | None, dtype: torch.dtype
) -> None:
    y, x = torch.meshgrid(torch.arange(6.0) + 0.5, torch.arange(8.0) + 0.5, indexing="ij")
    rising = torch.stack([x / 8, y / 6, x / 8 - 2 * y / 6])  # (E, N, M)
    dense = (rising * torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1, 1)).to(dtype)
    index, box = random_boxes(20)[:, :1], random_boxes(20)[:, 1:].clamp(1 / 6, 5 / 6)
    centre = (box[:, :2] + box[:, 2:]) / 2
    expected = torch.stack([*centre.T, centre[:, 0] - 2 * centre[:, 1]], dim=1) * (index + 1)
    pooled = pool_regions(dense, torch.cat([index, box], dim=1), bins=bins)
    assert pooled.dtype == dtype
    torch.testing.assert_close(pooled.float(), expected, **CLOSE[dtype])


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
