"""The training module: terms, teachers, locking, several processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

pytest.importorskip("open_clip", reason="extra vision-language is not installed")

from cmid.vision_language.clip.config import CLIPConfig
from cmid.vision_language.farslip.module import (
    DistillationConfig,
    FarSLIP,
    FarSLIPLossConfig,
)
from tests.together import run_together
from tests.vision_language.farslip.batches import ALL, SGD, batch_of, train


def test_terms_are_those_of_the_weights(tiny_clip: str) -> None:
    clip = CLIPConfig(tiny_clip)
    batch = batch_of([0, 1, 2, 3])
    terms = FarSLIP(clip, weights=ALL).losses(batch)
    assert terms.keys() == {"image_text", "distillation", "region_text"}
    assert all(torch.isfinite(term) for term in terms.values())
    assert FarSLIP(clip).losses(batch).keys() == {"image_text", "distillation"}
    stage2 = FarSLIP(clip, weights=FarSLIPLossConfig(1.0, 0.0, 1.0)).losses(batch)
    assert stage2.keys() == {"image_text", "region_text"}
    with pytest.raises(ValueError, match="at least one loss"):
        FarSLIP(clip, weights=FarSLIPLossConfig(0, 0, 0))


@pytest.mark.parametrize("teacher", ["shared", "ema", "frozen"])
def test_distillation_is_zero_where_the_region_is_the_whole_image(
    teacher: Any, tiny_clip: str
) -> None:
    module = FarSLIP(CLIPConfig(tiny_clip), distillation=DistillationConfig(teacher)).eval()
    batch = batch_of([0, 0])
    batch |= {
        "regions": torch.tensor([[0.0, 0, 0, 1, 1], [1.0, 0, 0, 1, 1]]),
        "region_images": batch["images"],
    }
    batch |= {"region_texts": ["", ""], "region_keys": ["", ""]}
    assert float(module.losses(batch)["distillation"].detach()) == pytest.approx(0, abs=1e-5)


def test_targets_and_teachers_differ(tiny_clip: str) -> None:
    batch = batch_of([1, 2, 4])

    def distilled(**settings: Any) -> Tensor:
        module = FarSLIP(CLIPConfig(tiny_clip), distillation=DistillationConfig(**settings))
        return module.losses(batch)["distillation"]

    patch, cls = distilled(target="patch"), distilled(target="cls")
    torch.testing.assert_close(distilled(target="both"), (patch + cls) / 2)
    assert abs(float(patch - cls)) > 1e-4
    # Before the first step all teachers have the same weights.
    torch.testing.assert_close(distilled(teacher="ema"), patch)
    torch.testing.assert_close(distilled(teacher="frozen"), patch)


def test_only_a_shared_teacher_takes_a_gradient(tiny_clip: str) -> None:
    batch = batch_of([1, 2])
    for teacher in ("shared", "ema"):
        module = FarSLIP(CLIPConfig(tiny_clip), distillation=DistillationConfig(teacher))  # type: ignore[arg-type]
        crops = batch["region_images"].float().requires_grad_()
        module.losses(batch | {"region_images": crops})["distillation"].backward()
        assert (crops.grad is not None) == (teacher == "shared")
        if module.teacher is not None:
            assert all(p.grad is None for p in module.teacher.parameters())


def test_teachers_follow_or_stay(tiny_clip: str, tmp_path: Path) -> None:
    name = "conv1.weight"
    for teacher in ("ema", "frozen"):
        module = FarSLIP(
            CLIPConfig(tiny_clip),
            distillation=DistillationConfig(teacher, momentum=0.5),  # type: ignore[arg-type]
            optimizer=SGD,
        )
        start = module.clip.image.visual.get_parameter(name).clone()  # type: ignore[union-attr]
        train(module, tmp_path, steps=1)
        tuned = module.clip.image.visual.get_parameter(name)  # type: ignore[union-attr]
        assert module.teacher is not None
        followed = module.teacher.module.visual.get_parameter(name)  # type: ignore[union-attr]
        assert not torch.equal(tuned, start)
        expected = (start + tuned) / 2 if teacher == "ema" else start
        torch.testing.assert_close(followed, expected)


def test_locked_towers_stay(tiny_clip: str, tmp_path: Path) -> None:
    for lock, name in (
        ("image", "image.trunk.conv1.weight"),
        ("text", "text.module.ln_final.bias"),
    ):
        clip = CLIPConfig(tiny_clip, backbone="random:resnet18", image_size=32)
        module = FarSLIP(clip, lock=lock, optimizer=SGD)  # type: ignore[arg-type]
        start = {k: v.clone() for k, v in module.clip.state_dict().items()}
        train(module, tmp_path, steps=1)
        end = module.clip.state_dict()
        assert torch.equal(start[name], end[name])
        assert not torch.equal(start["image.head.proj.weight"], end["image.head.proj.weight"])
        if lock == "image":
            assert torch.equal(
                start["image.trunk.bn1.running_mean"], end["image.trunk.bn1.running_mean"]
            )


def test_weight_decay_spares_norms_tokens_and_positions(tiny_clip: str, tmp_path: Path) -> None:
    module = FarSLIP(CLIPConfig(tiny_clip))
    trainer = train(module, tmp_path, steps=1)
    decayed = {
        id(p)
        for group in trainer.optimizers[0].param_groups
        if group["weight_decay"]
        for p in group["params"]
    }
    named = dict(module.clip.named_parameters())
    for name in (
        "image.visual.positional_embedding",
        "image.visual.class_embedding",
        "logit_scale",
    ):
        assert id(named[name]) not in decayed
    assert id(named["image.visual.proj"]) in decayed
    assert id(named["text.module.token_embedding.weight"]) in decayed


def test_the_published_region_loss_is_that_of_its_formula(tiny_clip: str) -> None:
    weights = FarSLIPLossConfig(0.0, 0.0, 1.0)
    module = FarSLIP(CLIPConfig(tiny_clip), weights=weights, region_loss="published")
    batch = batch_of([1, 2, 4, 5])
    loss = module.losses(batch)["region_text"]
    texts = batch["region_texts"]
    assert len(texts) > len(set(texts)) > 1  # a category repeats
    with torch.no_grad():
        images = module.clip.image.read(module._colour(batch["region_images"])).pooled
        v = F.normalize(images, dim=1).double().numpy()
        u = F.normalize(module.clip.encode_texts(texts), dim=1).double().numpy()
        scale = float(module.clip.scale)
    same = np.array([[float(a == b) for b in texts] for a in texts])
    target = same / same.sum(axis=1, keepdims=True)
    total = 0.0
    for logits in (scale * v @ u.T, scale * u @ v.T):
        share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        total -= (target * np.log(share)).sum(axis=1).mean() / 2
    assert float(loss.detach()) == pytest.approx(total, rel=1e-5)
    ours = FarSLIP(CLIPConfig(tiny_clip), weights=weights)
    assert float(ours.losses(batch)["region_text"].detach()) < total - 0.1
    with pytest.raises(ValueError, match=r"class_balance needs model\.region_loss=unique"):
        FarSLIP(CLIPConfig(tiny_clip), weights=weights, region_loss="published", class_balance=True)


def test_sigmoid_similarity_learns_its_bias(tiny_clip: str, tmp_path: Path) -> None:
    module = FarSLIP(CLIPConfig(tiny_clip), similarity="sigmoid", optimizer=SGD)
    assert module.clip.logit_bias is not None
    train(module, tmp_path)
    assert float(module.clip.logit_bias) != -10.0


def test_a_loss_that_is_not_finite_stops_the_run(tiny_clip: str, tmp_path: Path) -> None:
    module = FarSLIP(CLIPConfig(tiny_clip))
    module.clip.image.visual.proj.data.fill_(float("nan"))  # type: ignore[union-attr]
    with pytest.raises(FloatingPointError, match=r"at step 0 \(image_text nan.*\): lower"):
        train(module, tmp_path)


def run_process(rank: int, spec: str, settings: dict[str, Any], folder: Path) -> None:
    module = FarSLIP(CLIPConfig(spec), weights=ALL, optimizer=SGD, **settings)
    train(module, folder, processes=2)
    if rank == 0:
        torch.save(module.state_dict(), folder / "two.pt")


@pytest.mark.slow
def test_two_processes_equal_one(tiny_clip: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"class_balance": True, "distillation": DistillationConfig("ema")}
    module = FarSLIP(CLIPConfig(tiny_clip), weights=ALL, optimizer=SGD, **settings)
    start = {k: v.clone() for k, v in module.state_dict().items()}
    train(module, tmp_path)
    assert run_together(run_process, tiny_clip, settings, tmp_path) == [0, 0]
    two = torch.load(tmp_path / "two.pt", weights_only=True)
    moved = 0.0
    for name, tensor in module.state_dict().items():
        moved = max(moved, float((tensor - start[name]).abs().max()))
        torch.testing.assert_close(two[name], tensor, atol=1e-5, rtol=1e-4, msg=name)
    assert moved > 1e-3  # what is compared has been trained


def test_checkpointing_activations_changes_no_gradient(tiny_clip: str) -> None:
    gradients = []
    for checkpointing in (False, True):
        module = FarSLIP(CLIPConfig(tiny_clip), weights=ALL, grad_checkpointing=checkpointing)
        module.total(module.losses(batch_of([1, 2]))).backward()
        gradients.append(module.clip.image.visual.conv1.weight.grad)  # type: ignore[union-attr]
    torch.testing.assert_close(*gradients)


def test_a_teacher_with_batch_norm_passes_a_batch_without_regions(tiny_clip: str) -> None:
    clip = CLIPConfig(tiny_clip, backbone="random:resnet18", image_size=32)
    module = FarSLIP(clip, distillation=DistillationConfig("ema"))
    terms = module.losses(batch_of([0, 3]))  # images without regions
    assert float(terms["distillation"].detach()) == 0
