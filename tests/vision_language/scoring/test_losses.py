"""Losses of preferences: reference values, what they do not depend on, extremes."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from cmid.vision_language.scoring.losses import (
    bradley_terry_loss,
    plackett_luce_loss,
    preference_accuracy,
)

numbers = st.floats(-20, 20, width=32)


@pytest.fixture(scope="module")
def expected(root: Path) -> dict[str, Tensor]:
    """Reference values, computed with independent code."""
    return load_file(root / "tests/data/scorers.safetensors")


def close(actual: Tensor, target: Tensor) -> None:
    torch.testing.assert_close(actual, target, rtol=1e-5, atol=1e-6)


def everyone(scores: Tensor) -> Tensor:
    return torch.ones_like(scores, dtype=torch.bool)


def test_pairs_have_the_reference_loss_and_gradient(expected: dict[str, Tensor]) -> None:
    chosen, rejected = (
        expected[f"bradley_terry.{name}"].requires_grad_() for name in ("chosen", "rejected")
    )
    loss = bradley_terry_loss(chosen, rejected)
    loss.backward()
    close(loss.detach(), expected["bradley_terry.loss"])
    close(chosen.grad, expected["bradley_terry.grad_chosen"])
    close(rejected.grad, expected["bradley_terry.grad_rejected"])
    centred = bradley_terry_loss(chosen, rejected, centring=0.01)
    close(centred.detach(), expected["bradley_terry.centred_loss"])
    close(preference_accuracy(chosen, rejected), expected["bradley_terry.accuracy"])


def test_extreme_pairs_have_the_reference_loss(expected: dict[str, Tensor]) -> None:
    chosen, rejected = (expected[f"bradley_terry.extreme_{n}"] for n in ("chosen", "rejected"))
    close(bradley_terry_loss(chosen, rejected), expected["bradley_terry.extreme_loss"])


def test_rankings_have_the_reference_loss_and_gradient(expected: dict[str, Tensor]) -> None:
    scores, mask = expected["plackett_luce.scores"].requires_grad_(), expected["plackett_luce.mask"]
    loss = plackett_luce_loss(scores, mask)
    loss.backward()
    close(loss.detach(), expected["plackett_luce.loss"])
    close(scores.grad, expected["plackett_luce.grad"])
    for row, target in enumerate(expected["plackett_luce.per_sample"]):
        close(plackett_luce_loss(scores[row, None], mask[row, None]).detach(), target)


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=6), numbers)
@settings(max_examples=50, deadline=None)
def test_two_candidates_are_a_pair_and_a_common_shift_changes_nothing(
    pairs: list[tuple[float, float]], shift: float
) -> None:
    scores = torch.tensor(pairs)
    ranking = plackett_luce_loss(scores, everyone(scores))
    torch.testing.assert_close(ranking, bradley_terry_loss(scores[:, 0], scores[:, 1]))
    shifted = scores + shift
    moved = plackett_luce_loss(shifted, everyone(shifted))
    torch.testing.assert_close(moved, ranking, rtol=1e-4, atol=1e-4)
    moved = bradley_terry_loss(shifted[:, 0], shifted[:, 1])
    torch.testing.assert_close(moved, ranking, rtol=1e-4, atol=1e-4)


@given(st.lists(numbers, min_size=2, max_size=5))
@settings(max_examples=50, deadline=None)
def test_no_order_is_likelier_than_that_of_the_scores(values: list[float]) -> None:
    ordered = torch.tensor([sorted(values, reverse=True)])
    best = plackett_luce_loss(ordered, everyone(ordered))
    for order in itertools.permutations(range(len(values))):
        other = ordered[:, list(order)]
        assert best <= plackett_luce_loss(other, everyone(other)) + 1e-4


def test_the_probabilities_of_all_orders_add_up_to_one() -> None:
    scores = torch.randn(1, 4)
    orders = [list(order) for order in itertools.permutations(range(4))]
    losses = [plackett_luce_loss(scores[:, order], everyone(scores)) for order in orders]
    torch.testing.assert_close(torch.stack(losses).neg().exp().sum(), torch.tensor(1.0))


def test_places_without_a_candidate_count_nowhere() -> None:
    present = torch.randn(3, 3)
    target = plackett_luce_loss(present, everyone(present))
    for filler in (0.0, 1e4, torch.inf, torch.nan):
        scores = torch.full((3, 5), filler)
        scores[:, [0, 2, 4]] = present
        mask = torch.tensor([[True, False, True, False, True]]).expand(3, 5)
        scores.requires_grad_()
        loss = plackett_luce_loss(scores, mask)
        loss.backward()
        torch.testing.assert_close(loss.detach(), target)
        assert scores.grad is not None
        assert scores.grad.isfinite().all()
        assert (scores.grad[:, [1, 3]] == 0).all()


def test_rows_that_compare_nothing_do_not_thin_the_mean() -> None:
    scores = torch.randn(1, 3)
    alone = plackett_luce_loss(scores, everyone(scores))
    mask = torch.tensor([[True] * 3, [True, False, False], [False] * 3])
    torch.testing.assert_close(plackett_luce_loss(scores.expand(3, 3), mask), alone)
    nothing = torch.randn(2, 3, requires_grad=True)
    loss = plackett_luce_loss(nothing, torch.zeros(2, 3, dtype=torch.bool))
    loss.backward()
    assert loss == 0
    assert (nothing.grad == 0).all()
    assert bradley_terry_loss(torch.zeros(0), torch.zeros(0)) == 0


def test_ranks_give_the_order_and_ties_have_none() -> None:
    scores, mask = torch.randn(2, 4), torch.ones(2, 4, dtype=torch.bool)
    target = plackett_luce_loss(scores[:, [2, 0, 3, 1]], mask)
    ranks = torch.tensor([[3, 9, 1, 4]]).expand(2, 4)  # with gaps
    torch.testing.assert_close(plackett_luce_loss(scores, mask, ranks=ranks), target)
    tied = torch.tensor([[1, 2, 2, 3]]).expand(2, 4)
    swapped = scores[:, [0, 2, 1, 3]]
    torch.testing.assert_close(
        plackett_luce_loss(scores, mask, ranks=tied), plackett_luce_loss(swapped, mask, ranks=tied)
    )
    pair = torch.tensor([[0.5, -0.5]], requires_grad=True)
    plackett_luce_loss(pair, everyone(pair), ranks=torch.zeros(1, 2)).backward()
    assert pair.grad is not None
    assert pair.grad[0, 0] > 0 > pair.grad[0, 1]  # towards each other


def test_a_margin_asks_for_a_lead() -> None:
    chosen, rejected = torch.randn(5), torch.randn(5)
    margin = torch.rand(5)
    torch.testing.assert_close(
        bradley_terry_loss(chosen, rejected, margin=margin),
        bradley_terry_loss(chosen - margin, rejected),
    )
    assert bradley_terry_loss(chosen, rejected, margin=1.0) > bradley_terry_loss(chosen, rejected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_nothing_overflows_in_16_bits(dtype: torch.dtype) -> None:
    scores = torch.tensor([[-2e4, 2e4, 0.0], [2e4, 0.0, -2e4]], dtype=dtype, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ranking = plackett_luce_loss(scores, everyone(scores))
        pairs = bradley_terry_loss(scores[:, 0], scores[:, 1])
    (ranking + pairs).backward()
    assert ranking.dtype == pairs.dtype == torch.float32
    # Both mistakes of the first row cost their distance: 4e4 for the first place, 0 and 2e4 behind.
    torch.testing.assert_close(ranking, torch.tensor(2e4), rtol=1e-2, atol=0)
    assert scores.grad is not None
    assert scores.grad.isfinite().all()


def test_gradients_are_right() -> None:
    scores = torch.randn(3, 4, requires_grad=True)
    mask = torch.rand(3, 4) < 0.8
    ranks = torch.tensor([[0, 1, 1, 2]]).expand(3, 4)

    def slope(loss: object, step: Tensor) -> tuple[float, float]:
        value = loss(scores)  # type: ignore[operator]
        gradient = torch.autograd.grad(value, scores)[0]
        with torch.no_grad():
            ahead, behind = loss(scores + step), loss(scores - step)  # type: ignore[operator]
        return float((ahead - behind) / 2), float((gradient * step).sum())

    for loss in (
        lambda s: plackett_luce_loss(s, mask, ranks=ranks),
        lambda s: bradley_terry_loss(s[:, 0], s[:, 1], margin=0.3, centring=0.1),
    ):
        measured, stated = slope(loss, 1e-2 * torch.randn(3, 4))
        assert measured == pytest.approx(stated, abs=1e-4)


def test_scores_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must both be \(B,\), and are \(3,\) and \(2,\)"):
        bradley_terry_loss(torch.zeros(3), torch.zeros(2))
    with pytest.raises(ValueError, match=r"must both be \(B, N\), and are \(3, 2\) and \(2, 3\)"):
        plackett_luce_loss(torch.zeros(3, 2), torch.ones(2, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"ranks of \(1, 3\) for scores of \(2, 3\)"):
        plackett_luce_loss(
            torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool), ranks=torch.zeros(1, 3)
        )
