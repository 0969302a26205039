from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from cmid.losses import (
    KeyQueue,
    LocalDistillationLoss,
    MaskedReconstructionLoss,
    cosine_loss,
    focal_frequency_loss,
    info_nce_in_batch,
    info_nce_with_queue,
    nt_xent,
)
from cmid.models import ReconstructionHead


def unit(*shape: int) -> torch.Tensor:
    return F.normalize(torch.randn(*shape), dim=1)


def test_losses_are_float32_inside_autocast() -> None:
    query, image = unit(4, 32), torch.rand(2, 3, 32, 32)
    mask = torch.rand(2, 4, 4) < 0.6
    plain = [
        info_nce_with_queue(query, query, unit(16, 32).T),
        MaskedReconstructionLoss()(image, image.flip(0), mask)["frequency"],
    ]
    torch.manual_seed(0)
    query, image = unit(4, 32), torch.rand(2, 3, 32, 32)
    mask = torch.rand(2, 4, 4) < 0.6
    with torch.autocast("cpu", torch.bfloat16):
        inside = [
            info_nce_with_queue(query, query, unit(16, 32).T),
            MaskedReconstructionLoss()(image, image.flip(0), mask)["frequency"],
        ]
    for a, b in zip(plain, inside, strict=True):
        assert b.dtype == torch.float32
        assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_constant_images_give_finite_losses_and_gradients(dtype: torch.dtype, value: float) -> None:
    pred = torch.full((2, 3, 32, 32), value, dtype=dtype, requires_grad=True)
    terms = MaskedReconstructionLoss()(pred, torch.zeros(2, 3, 32, 32), torch.ones(2, 4, 4))
    total = terms["spatial"] + terms["frequency"]
    total.backward()
    assert torch.isfinite(total)
    assert pred.grad is not None
    assert torch.isfinite(pred.grad).all()
    assert (total.item() == 0) == (value == 0)


def test_gradient_of_the_reconstruction_flows_through_masked_pixels() -> None:
    pred = torch.randn(2, 3, 32, 32, requires_grad=True)
    mask = torch.zeros(2, 4, 4)
    mask[:, :2] = 1
    terms = MaskedReconstructionLoss()(pred, torch.randn(2, 3, 32, 32), mask)
    (spatial,) = torch.autograd.grad(terms["spatial"], pred, retain_graph=True)
    (frequency,) = torch.autograd.grad(terms["frequency"], pred)
    masked, visible = slice(0, 16), slice(16, 32)
    assert spatial[:, :, visible].abs().max() == 0
    assert spatial[:, :, masked].abs().min() > 0
    share = frequency[:, :, visible].norm() / frequency[:, :, masked].norm()
    assert 0 < share < 5e-3


def test_nothing_masked_gives_no_spatial_loss() -> None:
    terms = MaskedReconstructionLoss()(
        torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16), torch.zeros(1, 2, 2)
    )
    assert float(terms["spatial"]) == 0


def test_frequency_loss_of_the_mean_image_is_that_of_the_mean_spectrum() -> None:
    pred, target = torch.randn(2, 4, 3, 8, 8)
    spectra = [torch.fft.fft2(x, norm="ortho").mean(0) for x in (pred, target)]
    squared = (spectra[0] - spectra[1]).abs() ** 2
    weight = torch.log(1 + squared.sqrt())
    expected = (weight / weight.max() * squared).mean()
    mean = (pred - target).mean(dim=0, keepdim=True)
    torch.testing.assert_close(focal_frequency_loss(mean), expected)


def test_info_nce_is_the_cross_entropy_of_all_similarities() -> None:
    query, key, queue = unit(5, 16), unit(5, 16), unit(11, 16)
    expected = 0.0
    for q, k in zip(query, key, strict=True):
        similarities = torch.cat([(q @ k)[None], queue @ q]) / 0.1
        expected += float(-torch.log_softmax(similarities, 0)[0]) / 5
    assert float(info_nce_with_queue(query, key, queue.T, 0.1)) == pytest.approx(expected, rel=1e-5)


def test_info_nce_in_batch_is_that_of_a_queue_of_the_other_keys() -> None:
    query, keys = unit(5, 8), unit(7, 8)
    positives = torch.tensor([2, 3, 4, 5, 6])  # keys of another process lie before
    losses = [
        info_nce_with_queue(
            query[i : i + 1], keys[[p]], keys[torch.arange(7) != p].T, temperature=0.3
        )
        for i, p in enumerate(positives)
    ]
    loss = info_nce_in_batch(query, keys, positives, temperature=0.3)
    torch.testing.assert_close(loss, torch.stack(losses).mean())


def test_nt_xent_is_that_of_a_queue_of_all_other_embeddings_and_trains_both_views() -> None:
    first, second = unit(5, 8).requires_grad_(), unit(5, 8).requires_grad_()
    z = torch.cat([first, second]).detach()
    expected = 0.0
    for i in range(10):
        partner = (i + 5) % 10
        others = [j for j in range(10) if j not in (i, partner)]
        similarities = torch.stack([z[i] @ z[j] for j in [partner, *others]]) / 0.3
        expected += float(-torch.log_softmax(similarities, 0)[0]) / 10
    loss = nt_xent(first, second, temperature=0.3)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    loss.backward()
    for view in (first, second):
        assert view.grad is not None
        assert (view.grad.norm(dim=1) > 0).all()


def test_info_nce_sends_no_gradient_to_keys() -> None:
    query, key = unit(5, 16).requires_grad_(), unit(5, 16).requires_grad_()
    info_nce_with_queue(query, key, unit(11, 16).T).backward()
    assert query.grad is not None
    assert key.grad is None


def test_cosine_loss_spans_zero_to_four() -> None:
    x = torch.randn(3, 8)
    assert float(cosine_loss(x, 2 * x)) == pytest.approx(0, abs=1e-6)
    assert float(cosine_loss(x, -x)) == pytest.approx(4)


def test_fresh_queue_holds_columns_of_length_one() -> None:
    keys = KeyQueue(10, 4).keys
    assert keys.shape == (4, 10)
    torch.testing.assert_close(keys.norm(dim=0), torch.ones(10))


@settings(deadline=None, max_examples=40)
@given(size=st.integers(1, 9), batches=st.lists(st.integers(1, 20), min_size=1, max_size=6))
def test_queue_holds_the_last_keys_whatever_the_batches(size: int, batches: list[int]) -> None:
    queue = KeyQueue(size, 2)
    slots: list[float | None] = [None] * size
    number = 0
    for batch in batches:
        keys = torch.arange(number, number + batch).float()[:, None].expand(-1, 2)
        for value in range(number, number + batch):
            slots[value % size] = float(value)
        number += batch
        queue.push(keys)
    filled = [i for i, slot in enumerate(slots) if slot is not None]
    assert queue.keys[0, filled].tolist() == [slots[i] for i in filled]
    assert int(queue.position) == number % size


def test_queue_refuses_a_size_of_zero() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        KeyQueue(0, 4)


def test_centre_moves_after_the_loss_and_only_in_training() -> None:
    loss = LocalDistillationLoss(8)
    student, teacher = torch.randn(2, 3, 8, 5)
    first = loss(student, teacher, 0.04)
    torch.testing.assert_close(loss.center, 0.1 * teacher.mean((0, 2), keepdim=True))
    assert float(loss(student, teacher, 0.04)) != float(first)
    loss.eval()
    before = loss.center.clone()
    loss(student, teacher, 0.04)
    assert torch.equal(loss.center, before)


def test_local_loss_is_lowest_where_student_and_teacher_agree() -> None:
    loss = LocalDistillationLoss(8).eval()
    teacher = torch.randn(3, 8, 5)
    agreeing = loss(teacher * 0.1 / 0.05, teacher, 0.05)
    assert float(agreeing) < float(loss(torch.randn(3, 8, 5), teacher, 0.05))
    entropy = torch.special.entr(torch.softmax(teacher / 0.05, 1)).sum(1).mean()
    torch.testing.assert_close(agreeing, entropy, rtol=1e-4, atol=1e-5)


def test_each_view_has_its_own_spectra_and_the_losses_are_averaged() -> None:
    image = torch.randn(3, 3, 16, 16)
    # The errors of the second view undo those of the first in a mean over both.
    views = torch.stack([image, -image]).mean(dim=1)  # (2, C, H, W)
    together = focal_frequency_loss(views)
    alone = [focal_frequency_loss(view) for view in views.split(1)]
    torch.testing.assert_close(together, (alone[0] + alone[1]) / 2)
    assert float(together) > 1e-3
    assert float(focal_frequency_loss(views.mean(dim=0, keepdim=True))) == pytest.approx(
        0, abs=1e-9
    )


def test_both_terms_and_their_gradient_are_means_over_the_views() -> None:
    pred, target = torch.randn(2, 6, 3, 16, 16)
    pred.requires_grad_()
    masks = torch.zeros(6, 4, 4)
    masks[:3, :1], masks[3:, :3] = 1, 1  # the views need not mask the same share
    both = MaskedReconstructionLoss(views=2)(pred, target, masks)
    parts = zip(pred.chunk(2), target.chunk(2), masks.chunk(2), strict=True)
    first, second = (MaskedReconstructionLoss()(*part) for part in parts)
    for name, term in both.items():
        expected = (first[name] + second[name]) / 2
        torch.testing.assert_close(term, expected)
        gradients = [torch.autograd.grad(x, pred, retain_graph=True)[0] for x in (term, expected)]
        torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("blocks", [4, 2, 8])
def test_masked_cells_and_the_mean_image_are_all_that_the_terms_need(blocks: int) -> None:
    head, loss = ReconstructionHead(5, 8, 3), MaskedReconstructionLoss(views=2)
    dense, target = torch.randn(6, 5, 4, 4, requires_grad=True), torch.randn(6, 3, 32, 32)
    masks = torch.rand(6, blocks, blocks) < 0.4
    mean = head(dense.unflatten(0, (2, -1)).mean(dim=1))
    expected = loss(head(dense), target, masks)
    terms = loss(head(dense, masks), target, masks, mean)
    trained = [dense, *head.parameters()]
    for name, term in terms.items():
        torch.testing.assert_close(term, expected[name])
        both = term, expected[name]
        gradients = [torch.autograd.grad(x, trained, retain_graph=True) for x in both]
        torch.testing.assert_close(*gradients)
