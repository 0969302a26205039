"""Losses of images and texts."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cmid.vision_language.clip.contrastive import (
    gather_pairs,
    hash_texts,
    multi_positive_loss,
    pairwise_sigmoid_loss,
)
from cmid.vision_language.farslip.losses import (
    multi_positive_cross_entropy,
    region_distillation_loss,
)

SCALE = torch.tensor(10.0)


def unit(*shape: int) -> Tensor:
    return F.normalize(torch.randn(*shape, dtype=torch.float64), dim=-1)


def test_unique_labels_give_the_symmetric_cross_entropy_of_clip() -> None:
    torch.manual_seed(0)
    images, texts, labels = unit(6, 8).float(), unit(6, 8).float(), torch.randperm(6)
    logits = SCALE * images @ texts[labels].T
    target = torch.arange(6)
    expected = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    torch.testing.assert_close(multi_positive_loss(images, texts, labels, SCALE), expected)
    torch.testing.assert_close(multi_positive_cross_entropy(images, texts, labels, SCALE), expected)


def test_equals_open_clips_loss() -> None:
    loss = pytest.importorskip("open_clip.loss", reason="extra vision-language is not installed")
    torch.manual_seed(0)
    images, texts = unit(5, 8).float(), unit(5, 8).float()
    ours = multi_positive_loss(images, texts, torch.arange(5), SCALE)
    torch.testing.assert_close(ours, loss.ClipLoss()(images, texts, SCALE))
    bias = torch.tensor(-3.0)
    ours = pairwise_sigmoid_loss(images, texts, torch.arange(5), SCALE, bias)
    torch.testing.assert_close(ours, loss.SigLipLoss()(images, texts, SCALE, bias))


def test_multi_positive_loss_by_brute_force() -> None:
    torch.manual_seed(0)
    images, texts = unit(5, 8).float(), unit(3, 8).float()
    labels = torch.tensor([0, 0, 2, 1, 0])
    similarity = SCALE * images @ texts.T
    for balance in (False, True):
        total = torch.zeros(())
        share = {label: (labels == label).float().mean() for label in range(3)}
        for text in range(3):
            weight = 1 / 3 if balance else share[text]
            mine = (labels == text).nonzero()[:, 0]
            forth = torch.stack([-similarity[i].log_softmax(0)[text] for i in mine]).mean()
            probability = similarity[:, text].softmax(0)
            back = sum((1 / len(mine)) * torch.log(1 / len(mine) / probability[i]) for i in mine)
            total = total + weight * (forth + back) / 2
        ours = multi_positive_loss(images, texts, labels, SCALE, balance=balance)
        torch.testing.assert_close(ours, total)


def test_repeated_texts_cost_nothing_but_in_the_published_form() -> None:
    texts = torch.eye(3)
    labels = torch.tensor([0, 0, 0, 1, 2, 2])
    perfect, scale = texts[labels], torch.tensor(100.0)
    assert multi_positive_loss(perfect, texts, labels, scale) < 1e-5
    floor = (3 * math.log(3) + 2 * math.log(2)) / 6
    published = multi_positive_cross_entropy(perfect, texts, labels, scale)
    torch.testing.assert_close(published, torch.tensor(floor))


def test_gradients_are_right() -> None:
    torch.manual_seed(0)
    images, texts = unit(4, 5).requires_grad_(), unit(3, 5).requires_grad_()
    labels = torch.tensor([0, 1, 1, 2])

    def difference(loss: object) -> float:
        value = loss(images, texts, labels, SCALE)  # type: ignore[operator]
        gradient = torch.autograd.grad(value, images)[0]
        step = 1e-2 * torch.randn_like(images)
        with torch.no_grad():
            ahead = loss(images + step, texts, labels, SCALE)  # type: ignore[operator]
            behind = loss(images - step, texts, labels, SCALE)  # type: ignore[operator]
        return abs(float((ahead - behind) / 2 - (gradient * step).sum()))

    assert difference(multi_positive_loss) < 1e-3
    assert difference(multi_positive_cross_entropy) < 1e-3


def test_equal_texts_become_one_and_wordings_of_a_key_are_averaged() -> None:
    torch.manual_seed(0)
    images, texts = torch.randn(4, 8), torch.randn(3, 8)
    keys = ["ship", "plane", "ship", "plane"]
    pooled, merged, labels = gather_pairs(images, texts, keys, ["ship", "plane", "ship"])
    assert merged.shape == (2, 8)
    torch.testing.assert_close(pooled, F.normalize(images, dim=1))
    assert labels[0] == labels[2] != labels[1] == labels[3]
    both = F.normalize(texts[[0, 2]], dim=1).mean(dim=0)
    torch.testing.assert_close(merged[labels[0]], F.normalize(both, dim=0))
    assert len(hash_texts(["a", "b", "a"]).unique()) == 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_finite_in_16_bits_and_for_constant_features(dtype: torch.dtype) -> None:
    images = torch.ones(4, 8, dtype=dtype, requires_grad=True)
    labels = torch.tensor([0, 0, 1, 1])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pairs = gather_pairs(images, torch.zeros(2, 8, dtype=dtype), [*"aabb"], [*"ab"])
        loss = multi_positive_loss(*pairs[:2], labels, torch.tensor(100.0))
        loss = loss + region_distillation_loss(images, torch.zeros_like(images))
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert images.grad is not None
    assert torch.isfinite(images.grad).all()


def test_no_regions_cost_nothing() -> None:
    none = torch.zeros(0, 8, requires_grad=True)
    texts = torch.randn(2, 8, requires_grad=True)
    labels = torch.zeros(0, dtype=torch.long)
    for loss in (multi_positive_loss, multi_positive_cross_entropy):
        assert loss(none, texts, labels, SCALE) == 0
    assert pairwise_sigmoid_loss(none, texts, labels, SCALE, torch.tensor(0.0)) == 0
    assert region_distillation_loss(none, none) == 0


def test_distillation_is_the_mean_cosine_distance() -> None:
    regions, targets = torch.tensor([[2.0, 0], [0, 1]]), torch.tensor([[1.0, 0], [1, 0]])
    assert region_distillation_loss(regions, targets) == 0.5
