"""Parameters that no loss reaches, in one process and in two."""

from __future__ import annotations

import itertools
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

pytest.importorskip("open_clip", reason="extra vision-language is not installed")

from cmid.vision_language.clip.config import CLIPConfig
from cmid.vision_language.farslip.module import DistillationConfig, FarSLIP, FarSLIPLossConfig
from tests.together import run_together
from tests.vision_language.farslip.batches import SGD, batch_of, train

SAMPLES = [[0, 1, 2, 3], [3, 0, 0, 4]]  # the second process of the second batch has no region


def settings() -> list[dict[str, Any]]:
    """All weights that are 0 or not, with the teachers, targets and losses that matter to them."""
    teachers = [("shared", "patch"), ("shared", "both"), ("frozen", "cls"), ("ema", "patch")]
    found: list[dict[str, Any]] = []
    for number, given in enumerate(itertools.product((0.0, 1.0), repeat=3)):
        if any(given):
            weights = FarSLIPLossConfig(*given)
            # Where a loss of texts reads the pooled feature, no teacher changes what is reached.
            chosen = teachers[number % 4 : number % 4 + 1] if weights.texts else teachers
            found += [{"weights": weights, "distillation": DistillationConfig(*t)} for t in chosen]  # type: ignore[arg-type]
    for given in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
        found.append({"weights": FarSLIPLossConfig(*given), "similarity": "sigmoid"})
    published = {"weights": FarSLIPLossConfig(0, 1, 1), "region_loss": "published", "lock": "text"}
    return [*found, published]


def build(spec: str, given: dict[str, Any], *, backbone: str | None = None) -> FarSLIP:
    clip = CLIPConfig(spec, backbone=backbone, image_size=None if backbone is None else 32)
    return FarSLIP(clip, optimizer=SGD, seed=5, **given)


class Total(nn.Module):
    """The loss as the output of a module, for data-parallel training."""

    def __init__(self, module: FarSLIP) -> None:
        super().__init__()
        self.module = module

    def forward(self, batch: dict[str, Any]) -> Tensor:
        return self.module.total(self.module.losses(batch))


def gradients(module: FarSLIP, step: nn.Module, batches: list[list[int]]) -> dict[str, Tensor]:
    """Of the trained parameters, the gradients of several batches added up."""
    for samples in batches:
        step(batch_of(samples)).backward()
    return {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("given", settings(), ids=str)
def test_exactly_what_no_loss_reaches_is_frozen(given: dict[str, Any], tiny_clip: str) -> None:
    module = build(tiny_clip, given)
    reached = gradients(module, Total(module), SAMPLES[:1])
    assert reached
    assert {n for n, p in module.named_parameters() if p.requires_grad} == reached.keys()


@pytest.mark.parametrize("backbone", ["random:resnet18", "random:vit_tiny_patch16_224"])
def test_backbones_are_frozen_as_far_as_nothing_reaches_them(backbone: str, tiny_clip: str) -> None:
    given = {"weights": FarSLIPLossConfig(0, 1, 0), "distillation": DistillationConfig("frozen")}
    module = build(tiny_clip, given, backbone=backbone)
    reached = gradients(module, Total(module), SAMPLES[:1])
    assert {n for n, p in module.named_parameters() if p.requires_grad} == reached.keys()
    assert not any("text" in name or "logit" in name for name in reached)
    unread = "blocks.11.mlp.fc1.weight" if "vit" in backbone else None
    assert unread is None or f"clip.image.trunk.{unread}" not in reached
    assert module.training  # looking for them leaves the mode as it was
    assert all(m.training for m in module.clip.modules())


def test_freezing_leaves_statistics_of_batch_norm_as_they_are(tiny_clip: str) -> None:
    given = {"weights": FarSLIPLossConfig(0, 1, 0), "distillation": DistillationConfig("ema")}
    module = build(tiny_clip, given, backbone="random:resnet18")
    assert int(module.clip.image.trunk.bn1.num_batches_tracked) == 0  # type: ignore[union-attr]


def test_a_bias_that_infonce_does_not_read_is_frozen(tiny_clip: str) -> None:
    module = FarSLIP(CLIPConfig(tiny_clip, logit_bias=-3.0))
    assert module.clip.logit_bias is not None
    assert not module.clip.logit_bias.requires_grad
    assert float(module.clip.logit_bias) == -3


def test_nothing_to_train_is_an_error(tiny_clip: str) -> None:
    with pytest.raises(ValueError, match=r"model\.lock and model\.weights leave nothing"):
        FarSLIP(CLIPConfig(tiny_clip), weights=FarSLIPLossConfig(0, 1, 0), lock="image")
    with pytest.raises(ValueError, match="no loss has a weight below 0, not -1"):
        FarSLIPLossConfig(1, -1, 0)


def run_process(rank: int, spec: str, folder: Path) -> None:
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    own = [samples[2 * rank : 2 * rank + 2] for samples in SAMPLES]
    found = {}
    for number, given in enumerate(settings()):
        module = build(spec, given)
        reached = gradients(module, DistributedDataParallel(Total(module)), own)
        found |= {f"{number} {name}": gradient for name, gradient in reached.items()}
    # The reported case, through the trainer: three steps, with an optimizer.
    given = {"weights": FarSLIPLossConfig(0, 1, 0), "distillation": DistillationConfig("frozen")}
    train(build(spec, given), folder, processes=2)
    if rank == 0:
        torch.save(found, folder / "found.pt")


def test_two_processes_have_the_gradients_of_one_for_all_weights(
    tiny_clip: str, tmp_path: Path
) -> None:
    assert run_together(run_process, tiny_clip, tmp_path) == [0, 0]
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    for number, given in enumerate(settings()):
        module = build(tiny_clip, given)
        for name, gradient in gradients(module, Total(module), SAMPLES).items():
            torch.testing.assert_close(
                found.pop(f"{number} {name}"), gradient, atol=1e-5, rtol=1e-3, msg=f"{given} {name}"
            )
    assert not found
