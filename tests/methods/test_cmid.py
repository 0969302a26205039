from __future__ import annotations

from typing import Any

import lightning as L
import pytest
import torch

from cmid.data import PretrainData, SceneSource
from cmid.methods import CMID
from cmid.methods.cmid import LossConfig
from cmid.methods.gradient_balance import gradient_norms
from cmid.models import ema_momentum
from cmid.optimization import (
    OptimizerConfig,
    build_optimizer,
    scaled_lr,
)
from cmid.schedule import RunLength, WarmupCosine
from cmid.views import TwoViews, Views

SMALL: dict[str, Any] = {"img_size": 64, "queue_size": 32, "num_prototypes": 32, "num_matches": 4}
FAMILIES = {
    "resnet18": {},
    "convnext_atto": {},
    "vit_tiny_patch16_224": {"depth": 2},
    "swin_tiny_patch4_window7_224": {"depths": (1, 1, 1, 1)},
}


def method(backbone: str = "vit_tiny_patch16_224", **options: Any) -> CMID:
    arguments = {**SMALL, "backbone_args": FAMILIES[backbone], **options}
    return CMID(backbone, **arguments)


def views_of(batch: int = 2, *, bands: int = 3, size: int = 64) -> Views:
    images = torch.randn(2 * batch, bands, size, size)
    matrix = torch.eye(3).repeat(2 * batch, 1, 1)
    matrix[:, :2, 2] = torch.rand(2 * batch, 2) * 20
    masks = torch.rand(2 * batch, 4, 4) < 0.6
    return Views(images, images * 0.9, masks, matrix)


@pytest.mark.parametrize("backbone", FAMILIES)
@pytest.mark.parametrize(
    ("agreement", "global_views"), [("moco", "masked"), ("byol", "masked"), ("simclr", "clean")]
)
def test_gradient_reaches_every_trainable_parameter_and_never_the_teacher(
    backbone: str, agreement: str, global_views: str
) -> None:
    model = method(
        backbone, agreement=agreement, global_views=global_views, in_chans=5, **_statistics(5)
    )
    terms, features = model.losses(views_of(bands=5), 0.04)
    model.total(terms).backward()
    assert set(terms) == {"spatial", "frequency", "contrastive", "local"}
    assert not features.requires_grad
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    without = {name for name in trainable if model.get_parameter(name).grad is None}
    assert without == set()
    assert all(p.grad is None and not p.requires_grad for p in model.teacher.parameters())
    token = model.student.encoder.mask_token
    assert token.grad is not None
    assert token.grad.abs().sum() > 0


def _statistics(bands: int) -> dict[str, Any]:
    from cmid.data import ChannelStatistics

    return {
        "statistics": ChannelStatistics(
            (0.5,) * bands, (0.2,) * bands, (0.0,) * bands, (255.0,) * bands
        )
    }


@pytest.mark.parametrize(
    ("weights", "terms"),
    [
        (LossConfig(1, 0, 0), {"spatial", "frequency"}),
        (LossConfig(0, 1, 0), {"contrastive"}),
        (LossConfig(0, 0, 1), {"local"}),
        (LossConfig(1, 1, 0), {"spatial", "frequency", "contrastive"}),
        (LossConfig(1, 0, 1), {"spatial", "frequency", "local"}),
        (LossConfig(0, 1, 1), {"contrastive", "local"}),
    ],
)
def test_every_part_and_pair_is_a_matter_of_weights(weights: LossConfig, terms: set[str]) -> None:
    model = method(weights=weights)
    found, _ = model.losses(views_of(), 0.04)
    assert set(found) == terms
    torch.testing.assert_close(model.total(found), torch.stack(list(found.values())).sum())


@pytest.mark.parametrize(("agreement", "hidden"), [("moco", 64), ("byol", 64)])
def test_heads_have_the_width_that_is_asked_for(agreement: str, hidden: int) -> None:
    branch = method(agreement=agreement, head_width=hidden).student
    assert branch.projector.mlp[0].out_features == hidden
    assert branch.local_head.mlp[0].out_channels == hidden
    published = method(agreement=agreement).student
    assert published.projector.mlp[0].out_features == (2048 if agreement == "moco" else 512)
    assert published.local_head.mlp[0].out_channels == 2048


@pytest.mark.parametrize("agreement", ["moco", "byol", "simclr"])
def test_a_global_branch_on_clean_views_does_not_see_the_masks(agreement: str) -> None:
    views = views_of(3)
    other = Views(views.images, views.masked * 0, ~views.masks, views.matrices)
    for global_views, same in (("clean", True), ("masked", False)):
        model = method(agreement=agreement, global_views=global_views).eval()  # a queue stays
        first, second = (model.losses(seen, 0.04)[0] for seen in (views, other))
        assert bool(first["contrastive"] == second["contrastive"]) is same
        assert not torch.equal(first["local"], second["local"])


def test_of_a_contrastive_branch_alone_clean_views_are_all_that_is_seen() -> None:
    model = method(weights=LossConfig(0, 1, 0), agreement="simclr", global_views="clean")
    passes: list[int] = []
    for encoder in model.encoders().values():
        encoder.register_forward_hook(lambda *args: passes.append(len(args[1][0])))
    terms, _ = model.losses(views_of(3), 0.04)
    model.total(terms).backward()
    assert passes == [6]
    assert not model.student.encoder.mask_token.requires_grad
    trained = [p for p in model.parameters() if p.requires_grad]
    assert all(p.grad is not None for p in trained)


def test_weights_scale_the_total() -> None:
    model = method(weights=LossConfig(2.0, 0.5, 3.0))
    terms, _ = model.losses(views_of(), 0.04)
    expected = (
        2 * (terms["spatial"] + terms["frequency"])
        + 0.5 * terms["contrastive"]
        + 3 * terms["local"]
    )
    torch.testing.assert_close(model.total(terms), expected)


def test_no_weight_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one loss"):
        method(weights=LossConfig(0, 0, 0))


def test_joint_forward_of_both_views_equals_separate_ones_without_batchnorm() -> None:
    model = method()
    views = views_of(3)
    joint = model.student.encoder(views.masked, views.masks)
    separate = [
        model.student.encoder(images, masks)
        for images, masks in zip(views.masked.chunk(2), views.masks.chunk(2), strict=True)
    ]
    torch.testing.assert_close(joint, torch.cat(separate))


@pytest.mark.parametrize("agreement", ["moco", "byol", "simclr"])
@pytest.mark.parametrize("backbone", ["resnet18", "vit_tiny_patch16_224"])
def test_one_image_per_process_is_enough(backbone: str, agreement: str) -> None:
    model = method(backbone, agreement=agreement)
    terms, _ = model.losses(views_of(1), 0.04)
    model.total(terms).backward()
    assert all(torch.isfinite(term) for term in terms.values())


@pytest.mark.parametrize("size", [96, 160])
def test_other_sizes_divisible_by_the_stride(size: int) -> None:
    model = method("resnet18", img_size=size)
    views = views_of(2, size=size)
    terms, _ = model.losses(views, 0.04)
    assert torch.isfinite(model.total(terms))


def test_queue_and_centre_take_in_what_the_teacher_said() -> None:
    model = method()
    before = model.agreement.queue.keys.clone()
    views = views_of(3)
    model.losses(views, 0.04)
    with torch.no_grad():
        keys = model.teacher_branch.embed(model.teacher_branch.encoder(views.images))
    torch.testing.assert_close(model.agreement.queue.keys[:, :6], keys.T)
    assert torch.equal(model.agreement.queue.keys[:, 6:], before[:, 6:])
    assert model.local_loss.center.abs().sum() > 0


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"weights": LossConfig(1, 0, 0)},
        {"agreement": "simclr", "global_views": "clean", "weights": LossConfig(1, 1, 0)},
    ],
)
def test_running_statistics_are_those_of_clean_images(options: dict[str, Any]) -> None:
    model = method("resnet18", **options)
    views = views_of()
    views = Views(views.images, views.images * 0 + 50, views.masks, views.matrices)
    student, teacher = model.student.encoder, model.teacher_branch.encoder
    model.losses(views, 0.04)
    running = student.backbone.bn1.running_mean
    assert torch.equal(running, torch.zeros_like(running))
    model.follow_statistics(views, 1.0)
    clean = student.backbone.conv1(views.images.chunk(2)[0]).mean((0, 2, 3))
    torch.testing.assert_close(running, clean, atol=1e-5, rtol=1e-4)
    assert teacher.backbone.bn1.running_mean.abs().sum() > 0
    assert student.backbone.bn1.momentum == 0


def test_a_run_evaluates_the_student_with_statistics_of_its_own() -> None:
    model = method("resnet18")
    train(model, steps=3)
    assert all(
        layer.running_var.ne(1).any()
        for layer in (model.student.encoder.backbone.bn1, model.teacher_branch.encoder.backbone.bn1)
    )


@pytest.mark.parametrize("name", ["adan", "adamw", "lars", "sgd"])
def test_optimizers_decay_matrices_only(name: str) -> None:
    model = method()
    optimizer = build_optimizer(model, OptimizerConfig(name=name, weight_decay=0.1), 0.5)
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert len(held) == sum(p.requires_grad for p in model.parameters())
    for group in optimizer.param_groups:
        assert group["lr"] == 0.5
        for parameter in group["params"]:
            assert (group["weight_decay"] == 0.1) == (parameter.ndim > 1)


def test_unknown_optimizer_is_named() -> None:
    with pytest.raises(ValueError, match="addam"):
        build_optimizer(method(), OptimizerConfig(name="addam"), 0.1)


def test_schedule_warms_up_then_falls_on_a_cosine() -> None:
    optimizer = build_optimizer(method(), OptimizerConfig(name="sgd"), 0.1)
    length = RunLength(10, max_steps=100)
    schedule = WarmupCosine(
        optimizer, warmup_epochs=2, warmup_factor=0.01, min_lr=1e-4, length=length
    )
    rates = []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[0] == pytest.approx(0.001)
    assert rates[10] == pytest.approx((0.001 + 0.1) / 2)
    assert max(rates) == pytest.approx(0.1) == rates[20]
    assert rates[60] == pytest.approx((0.1 + 1e-4) / 2)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-4)
    assert rates[20:] == sorted(rates[20:], reverse=True)


def test_published_rate_is_one_thousandth_per_64_images() -> None:
    assert scaled_lr(OptimizerConfig(), 64) == pytest.approx(1e-3)
    assert scaled_lr(OptimizerConfig(), 4 * 64) == pytest.approx(4e-3)


def train(model: CMID, *, steps: int, images: int = 16, batch: int = 4, **options: Any) -> Any:
    data = PretrainData(
        SceneSource(images, size=64),
        TwoViews(size=64, block_size=16),
        batch_size=batch,
        num_workers=0,
    )
    trainer = L.Trainer(
        max_steps=steps,
        max_epochs=100,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(model, data)
    return trainer


def test_teacher_moves_once_per_optimizer_step_with_the_scheduled_momentum(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = method()
    seen = []
    update = model.teacher.update
    monkeypatch.setattr(
        model.teacher, "update", lambda student, m: (seen.append(m), update(student, m))
    )
    trainer = train(model, steps=3, accumulate_grad_batches=2)
    assert trainer.global_step == 3
    assert seen == [pytest.approx(ema_momentum(step, 3, 0.996)) for step in range(3)]


def test_losses_fall_on_a_few_images() -> None:
    model = method(
        "convnext_atto",
        optimizer=OptimizerConfig(name="adamw", base_lr=0.1, warmup_epochs=0),
        weights=LossConfig(1, 0, 0),
    )
    views = views_of(4)
    with torch.no_grad():
        before = model.total(model.losses(views, 0.04)[0])
    optimizer = build_optimizer(model, OptimizerConfig(name="adamw"), 2e-3)
    for _ in range(25):
        optimizer.zero_grad()
        loss = model.total(model.losses(views, 0.04)[0])
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.7 * float(before)


def test_a_loss_that_is_not_a_number_stops_the_run_and_says_so() -> None:
    model = method()
    with torch.no_grad():
        model.student.encoder.mask_token.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match=r"step 0 .*spatial nan.*base_lr"):
        train(model, steps=1)


def test_the_log_tells_how_each_loss_pulls_and_how_many_prototypes_are_in_use() -> None:
    model = method(watch_gradients=1)
    logged = train(model, steps=1).callback_metrics
    norms = {name: float(value) for name, value in logged.items() if "gradients/" in name}
    assert norms.keys() == {
        f"gradients/{name}" for name in ("spatial", "frequency", "contrastive", "local")
    }
    assert min(norms.values()) > 0
    prototypes = model.local_loss.center.shape[1]
    assert 1 <= float(model.watched()["prototypes/used"]) <= prototypes


def test_gradient_norms_are_those_of_a_backward_pass_and_leave_no_gradient() -> None:
    layer, inputs = torch.nn.Linear(4, 3), torch.randn(8, 4)
    terms = {"a": layer(inputs).square().mean(), "b": torch.tensor(1.0)}
    norms = gradient_norms(terms, {"a": 2.0}, [layer])
    assert layer.weight.grad is None
    (2 * terms["a"]).backward()
    expected = torch.cat([p.grad.flatten() for p in layer.parameters()]).norm()  # type: ignore[union-attr]
    torch.testing.assert_close(norms, {"a": expected})


def test_checkpoint_describes_the_backbone() -> None:
    model = method("swin_tiny_patch4_window7_224")
    trainer = train(model, steps=1)
    checkpoint: dict[str, Any] = {}
    model._trainer = trainer
    model.on_save_checkpoint(checkpoint)
    entry = checkpoint["cmid"]
    assert entry["model_name"] == "swin_tiny_patch4_window7_224"
    assert (entry["in_chans"], entry["img_size"], entry["global_step"]) == (3, 64, 1)
    assert entry["mean"] == pytest.approx([0.33797, 0.3605, 0.3348])


@pytest.mark.slow
@pytest.mark.parametrize("how", ["blocks", "whole"])
def test_compiled_backbone_equals_the_eager_one(how: str) -> None:
    eager, compiled = method(), method(compile=how)
    compiled.load_state_dict(eager.state_dict())
    views = views_of(2)
    a, _ = eager.losses(views, 0.04)
    b, _ = compiled.losses(views, 0.04)
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-4, atol=1e-5)
