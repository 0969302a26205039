"""The weights of the configurations against the gradients of the published training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor

pytest.importorskip("open_clip", reason="extra vision-language is not installed")

from cmid.vision_language.clip.config import CLIPConfig
from cmid.vision_language.farslip.losses import multi_positive_cross_entropy
from cmid.vision_language.farslip.module import FarSLIP, FarSLIPLossConfig
from cmid.vision_language.regions import pool_regions
from tests.vision_language.farslip.batches import batch_of

PROCESSES = 4
CONFIGS = Path(__file__).resolve().parents[3] / "configs/vision_language"


def configured(stage: int) -> dict[str, Any]:
    return yaml.safe_load((CONFIGS / f"farslip_stage{stage}.yaml").read_text())


def batch() -> dict[str, Any]:
    """Two images for each of four processes, with a caption and a region each."""
    made = batch_of([1, 4, 7, 10, 13, 16, 19, 22])
    return made | {"texts": [f"a harbour with {number} ships" for number in range(8)]}


def published_total(module: FarSLIP, *, distillation: float, region_text: float) -> Tensor:
    """What four processes compute and average: each keeps the gradient of its own images only."""
    given = batch()
    clip, target = module.clip, torch.arange(8)
    images = clip.image.read(module._colour(given["images"]))
    crops = clip.image.read(module._colour(given["region_images"]))
    v, u = F.normalize(images.pooled, dim=1), F.normalize(clip.encode_texts(given["texts"]), dim=1)
    pooled = pool_regions(images.dense, given["regions"])
    distance = 1 - F.cosine_similarity(pooled, crops.dense.mean(dim=(2, 3)), dim=1)
    losses = []
    for process in range(PROCESSES):
        own = (torch.arange(8) // 2 == process)[:, None]
        logits = clip.scale * torch.where(own, v, v.detach()) @ torch.where(own, u, u.detach()).T
        losses.append((F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2)
        losses[-1] = losses[-1] + distillation * distance[own[:, 0]].mean()
    names = sorted(set(given["region_texts"]))
    labels = torch.tensor([names.index(text) for text in given["region_texts"]])
    regions = multi_positive_cross_entropy(
        F.normalize(crops.pooled, dim=1),
        F.normalize(clip.encode_texts(names), dim=1),
        labels,
        clip.scale,
    )
    return torch.stack(losses).mean() + region_text * regions


def gradients(module: FarSLIP, total: Tensor) -> dict[str, Tensor]:
    module.zero_grad()
    total.backward()
    return {n: p.grad.clone() for n, p in module.clip.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("stage", "nominal"), [(1, (0.1, 0.0)), (2, (0.0, 1.0))])
def test_both_towers_get_the_gradient_of_the_published_training(
    stage: int, nominal: tuple[float, float], tiny_clip: str
) -> None:
    weights = FarSLIPLossConfig(**configured(stage)["model"]["weights"])
    module = FarSLIP(CLIPConfig(tiny_clip), weights=weights, region_loss="published")
    expected = gradients(
        module, published_total(module, distillation=nominal[0], region_text=nominal[1])
    )
    ours = gradients(module, module.total(module.losses(batch())))
    scale = "logit_scale"
    for name in ours.keys() - {scale}:
        torch.testing.assert_close(ours[name], expected[name], atol=1e-6, rtol=1e-4, msg=name)
    assert max(float(gradient.abs().max()) for gradient in ours.values()) > 1e-3
    if stage == 1:  # reached by one loss only, it differs by a factor
        torch.testing.assert_close(PROCESSES * ours[scale], expected[scale], rtol=1e-4, atol=1e-6)


def test_configurations_say_what_the_published_run_amounts_to() -> None:
    first, second = (configured(stage)["model"]["weights"] for stage in (1, 2))
    assert first["distillation"] / first["image_text"] == pytest.approx(0.4)
    assert second["region_text"] / second["image_text"] == pytest.approx(4)
    optimizer = configured(1)["model"]["optimizer"]
    assert round(optimizer["warmup_epochs"] * 5_070_000 / 160) == 1000
    for stage, ratio in ((1, "1 : 0.4"), (2, "1 : 4")):
        head = (CONFIGS / f"farslip_stage{stage}.yaml").read_text().partition("run_dir:")[0]
        for said in (ratio, "ViT-B/16", "248", "squashes", "position embeddings", "float16", "eps"):
            assert said in head or (stage == 2 and said == "eps"), (stage, said)
