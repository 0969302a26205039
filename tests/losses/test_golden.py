"""The losses reproduce values that were computed with independent code."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cmid.losses import (
    LocalDistillationLoss,
    MaskedReconstructionLoss,
    focal_frequency_loss,
    info_nce_with_queue,
    teacher_temperature,
)
from cmid.views.geometry import match_positions

Golden = dict[str, Tensor]


def close(actual: Tensor | float, expected: Tensor, rtol: float = 1e-5) -> None:
    torch.testing.assert_close(torch.as_tensor(actual), expected, rtol=rtol, atol=1e-8)


def test_focal_frequency_loss(golden: Golden) -> None:
    error = golden["frequency.pred"] - golden["frequency.target"]
    close(focal_frequency_loss(error.mean(dim=0, keepdim=True)), golden["frequency.loss"])


def test_masked_reconstruction_and_its_gradient(golden: Golden) -> None:
    pred = golden["reconstruction.pred"].clone().requires_grad_()
    terms = MaskedReconstructionLoss()(
        pred, golden["reconstruction.target"], golden["reconstruction.mask"]
    )
    total = terms["spatial"] + terms["frequency"]
    total.backward()
    close(terms["spatial"].detach(), golden["reconstruction.spatial"])
    close(total.detach(), golden["reconstruction.total"])
    assert pred.grad is not None
    # Relative to the largest entry: single entries are differences of nearly equal float32 numbers.
    expected = golden["reconstruction.grad_pred"]
    assert (pred.grad - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert (pred.grad - expected).norm() <= 1e-5 * expected.norm()


def test_info_nce(golden: Golden) -> None:
    query, key, queue = (golden[f"contrastive.{name}"] for name in ("query", "key", "queue"))
    close(info_nce_with_queue(query, key, queue, 0.2), golden["contrastive.loss"])


def test_local_distillation_over_three_calls(golden: Golden) -> None:
    loss = LocalDistillationLoss(48)
    for call, epoch in enumerate((0, 10, 120)):
        temperature = teacher_temperature(epoch)
        assert temperature == pytest.approx(float(golden[f"local.{call}.teacher_temp"]), rel=1e-5)
        value = loss(golden[f"local.{call}.student"], golden[f"local.{call}.teacher"], temperature)
        close(value, golden[f"local.{call}.loss"])
        close(loss.center, golden[f"local.{call}.center_after"])


def test_matching(golden: Golden) -> None:
    index_a, index_b = match_positions(
        golden["matching.locations_a"], golden["matching.locations_b"], 20
    )
    assert torch.equal(index_a, golden["matching.index_a"])
    assert torch.equal(index_b, golden["matching.index_b"])
