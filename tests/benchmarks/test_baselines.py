from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.baselines import BYOL, DINO, LeJEPA, MoCoV2, SimCLR, SimMIM
from benchmarks.baselines.lejepa import invariance
from benchmarks.baselines.sigreg import SIGReg, epps_pulley
from benchmarks.baselines.simmim import masked_l1
from cmid.losses import info_nce_with_queue
from cmid.methods import PretrainMethod
from cmid.views import Views
from tests.together import run_together

AVERAGED = (MoCoV2, BYOL, DINO)
EXPECTED = 1.0594  # sqrt(2 pi) (1 - 1 / sqrt 3)


def views_of(images: Tensor) -> Views:
    """The images as both views, one after the other; half of the blocks masked."""
    masks = torch.zeros(len(images), 2, 2, dtype=torch.bool)
    masks[:, 0] = True
    return Views(images, images * 0.9, masks, torch.eye(3).repeat(len(images), 1, 1))


@pytest.mark.parametrize("method", [SimCLR, *AVERAGED, SimMIM, LeJEPA])
def test_gradients_reach_what_is_trained_and_no_teacher(method: type[PretrainMethod]) -> None:
    model = method("resnet18", img_size=32).train()
    if isinstance(model, MoCoV2):  # an empty queue holds random keys; one call fills it
        model.losses(views_of(torch.randn(8, 3, 32, 32)))
    terms, features = model.losses(views_of(torch.randn(8, 3, 32, 32)))
    loss = model.total(terms)
    loss.backward()
    assert torch.isfinite(loss)
    assert features.shape == (8, 512)
    assert not features.requires_grad
    assert model.encoders()[model.exported].backbone.conv1.weight.grad.abs().sum() > 0
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {name for name in trained if model.get_parameter(name).grad is None} == set()
    teachers = [p for n, p in model.named_parameters() if n.startswith("teacher")]
    assert not any(p.requires_grad for p in teachers)
    assert bool(teachers) == (method in AVERAGED)


@pytest.mark.parametrize("method", [SimCLR, *AVERAGED])
def test_running_statistics_follow_the_images(method: type[PretrainMethod]) -> None:
    model = method("resnet18", img_size=32).train()
    layer = model.encoders()[model.exported].backbone.bn1
    passes = []
    layer.register_forward_pre_hook(lambda module, args: passes.append(args[0].mean((0, 2, 3))))
    assert not layer.running_mean.any()
    model.losses(views_of(5 + torch.randn(8, 3, 32, 32)))
    torch.testing.assert_close(layer.running_mean, 0.1 * passes[0])


@pytest.mark.parametrize(
    ("method", "options", "expected"),
    [
        (SimCLR, {}, [3.29382896, 3.40214062, 3.42455077]),
        (MoCoV2, {"queue_size": 64}, [0.61951202, 2.97254467, 3.09503913]),
        (BYOL, {}, [0.01926447, -0.08429869, -0.14819941]),
        (DINO, {"num_prototypes": 32}, [3.55396819, 3.53508568, 3.51310778]),
    ],
)
def test_first_three_steps_have_the_losses_of_an_earlier_version(
    method: type[PretrainMethod], options: dict[str, Any], expected: list[float]
) -> None:
    torch.manual_seed(0)
    model = method("resnet18", img_size=32, **options).train()
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
    found = []
    for _ in range(3):
        terms, _ = model.losses(views_of(torch.randn(16, 3, 32, 32, generator=generator)))
        loss = model.total(terms)
        optimizer.zero_grad()
        loss.backward()
        model.on_after_backward()
        optimizer.step()
        if model.first_momentum is not None:
            model.update_teacher(0.9)
        found.append(float(loss.detach()))
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_both_directions_of_moco_meet_the_same_queue_without_keys_of_their_own_images() -> None:
    model = MoCoV2("resnet18", img_size=32, queue_size=64, temperature=0.3).train()
    views = views_of(torch.randn(8, 3, 32, 32))
    first, second = normalize(model.targets(views.images), dim=1).chunk(2)
    queries = normalize(model.project(views.images)[0], dim=1)
    queue = model.loss.memory_bank.bank.T.clone()  # (D, K)
    expected = info_nce_with_queue(queries, torch.cat([second, first]), queue, 0.3)
    torch.testing.assert_close(model.losses(views)[0]["contrastive"], expected)
    entered = model.loss.memory_bank.bank[:8]
    torch.testing.assert_close(entered, torch.cat([second, first]))


def test_masked_distance_counts_masked_pixels_alone() -> None:
    target = torch.randn(2, 3, 8, 8)
    mask = torch.tensor([[[1, 0], [0, 0]], [[0, 0], [0, 0]]], dtype=torch.bool)
    pred = target.clone()
    pred[:, :, 4:] += 7
    assert float(masked_l1(pred, target, mask)) == 0
    pred[0, :, :4, :4] -= 2
    assert float(masked_l1(pred, target, mask)) == pytest.approx(2)
    assert float(masked_l1(pred, target, mask & False)) == 0


@pytest.mark.parametrize(
    ("backbone", "options"),
    [
        ("convnext_atto", {}),
        ("vit_tiny_patch16_224", {"depth": 1}),
        ("swin_tiny_patch4_window7_224", {"depths": (1, 1, 1, 1)}),
    ],
)
def test_masked_modelling_trains_any_family_and_sees_no_masked_pixel(
    backbone: str, options: dict[str, Any]
) -> None:
    model = SimMIM(backbone, img_size=32, backbone_args=options).eval()
    views = views_of(torch.randn(4, 3, 32, 32))
    terms, _ = model.losses(views)
    model.total(terms).backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert all(p.grad is not None for p in trained)
    assert model.encoder.mask_token.grad.abs().sum() > 0
    other = Views(views.images + 1, views.masked, views.masks, views.matrices)
    with torch.no_grad():
        torch.testing.assert_close(model.reconstruction(other), model.reconstruction(views))


def test_statistic_of_normal_samples_has_its_expectation() -> None:
    generator = torch.Generator().manual_seed(0)
    for count in (50, 500):
        samples = torch.randn(count, 4000, generator=generator)
        assert float(epps_pulley(samples).mean()) == pytest.approx(EXPECTED, rel=0.05)


def test_statistic_equals_its_closed_form() -> None:
    # Epps and Pulley: with kernels of the differences instead of an integral.
    x = torch.randn(40, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 1.3 + 0.4
    pairs = torch.exp(-((x[:, None] - x) ** 2) / 2).sum() / len(x)
    single = torch.exp(-(x**2) / 4).sum() * 2**0.5
    closed = (2 * torch.pi) ** 0.5 * (pairs - single + len(x) / 3**0.5)
    found = epps_pulley(x.float()[:, None], points=2001, limit=12)
    assert float(found) == pytest.approx(float(closed), rel=1e-4)
    assert float(epps_pulley(x.float()[:, None])) == pytest.approx(float(closed), rel=1e-2)


def test_collapsed_and_anisotropic_embeddings_are_told_from_normal_ones() -> None:
    normal = torch.randn(256, 16, generator=torch.Generator().manual_seed(0))
    flat = normal * torch.tensor([3.0] + [0.3] * 15)
    loss = SIGReg()
    assert float(loss(normal)) == pytest.approx(EXPECTED, rel=0.25)
    for other in (torch.zeros_like(normal), flat, normal + 1, normal[:, :1].expand(-1, 16)):
        assert float(loss(other)) > 8 * float(loss(normal))


def test_regularisation_knows_no_order_and_has_gradients() -> None:
    loss = SIGReg(64).eval()
    samples = torch.randn(32, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    mixed = samples[torch.randperm(32)]
    torch.testing.assert_close(loss(samples), loss(mixed))
    views = torch.stack([samples, samples * 2])
    torch.testing.assert_close(loss(views), (loss(samples) + loss(samples * 2)) / 2)
    loss(samples * 0.1).backward()
    assert torch.isfinite(samples.grad).all()
    # Downhill from too small a spread is a larger one.
    assert (samples.grad * samples).sum() < 0


def test_directions_change_with_each_call_of_training() -> None:
    loss, samples = SIGReg(4), torch.randn(16, 8)
    first, second = loss(samples), loss(samples)
    assert first != second
    again = SIGReg(4)
    again.load_state_dict({"calls": torch.tensor(1)})
    assert again(samples) == second


def test_embeddings_fall_into_place_by_the_regularisation_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    points = (0.1 * torch.randn(128, 4, generator=generator) + 2).requires_grad_()
    loss, optimizer = SIGReg(32), torch.optim.Adam([points], lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        loss(points).backward()
        optimizer.step()
    assert points.mean(0).abs().max() < 0.2
    torch.testing.assert_close(torch.cov(points.detach().T), torch.eye(4), atol=0.3, rtol=0)


def test_views_that_agree_cost_nothing() -> None:
    one = torch.randn(4, 6)
    assert float(invariance(torch.stack([one, one]))) == 0
    assert float(invariance(torch.stack([one, one + 2]))) == pytest.approx(1)
    with pytest.raises(ValueError, match=r"model\.trade_off"):
        LeJEPA("resnet18", trade_off=1.5)


def _gradient(rank: int, world: int, folder: Path) -> None:
    """Gradient of a linear map by SIGReg of its part of the samples, averaged as DDP does."""
    if world > 1:
        dist.init_process_group("gloo")
    samples = torch.randn(32, 8, generator=torch.Generator().manual_seed(0)).chunk(world)[rank]
    weight = torch.eye(8, requires_grad=True)
    loss = SIGReg(16)(samples @ weight)
    loss.backward()
    if world > 1:
        dist.all_reduce(weight.grad)
    if rank == 0:
        torch.save((loss.detach(), weight.grad / world), folder / f"{world}.pt")


@pytest.mark.slow
def test_two_processes_have_the_gradient_of_one_with_all_samples(tmp_path: Path) -> None:
    assert run_together(_gradient, 2, tmp_path) == [0, 0]
    _gradient(0, 1, tmp_path)
    (two, its), (one, expected) = (torch.load(tmp_path / f"{n}.pt") for n in (2, 1))
    torch.testing.assert_close(two, one)
    torch.testing.assert_close(its, expected, rtol=1e-4, atol=1e-5)
