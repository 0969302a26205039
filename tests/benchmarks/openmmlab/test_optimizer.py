from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import timm.optim
import torch
from torch import nn

pytest.importorskip("mmcv._ext", reason="extra openmmlab is not installed")

from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import OPTIMIZERS, DefaultScope

from benchmarks.openmmlab import CMIDBackbone

RATE, LR, DECAY = 0.5, 1.0, 0.05


class Model(nn.Module):
    def __init__(self, name: str, **arguments: Any) -> None:
        super().__init__()
        self.backbone = CMIDBackbone(f"random:{name}", img_size=64, **arguments)
        self.head = nn.Conv2d(8, 8, 1)


def settings(model: nn.Module, **paramwise: Any) -> dict[str, tuple[float, float]]:
    """Learning rate and weight decay of each parameter, in mmsegmentation's scope."""
    config = {
        "type": "OptimWrapper",
        "optimizer": {"type": "AdamW", "lr": LR, "weight_decay": DECAY},
        "constructor": "LayerDecayConstructor",
        "paramwise_cfg": {"layer_decay_rate": RATE} | paramwise,
    }
    import_module("mmseg.engine")
    with DefaultScope.overwrite_default_scope("mmseg"):
        optimizer = build_optim_wrapper(model, config).optimizer
    names = {parameter: name for name, parameter in model.named_parameters()}
    found = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            assert names[parameter] not in found
            found[names[parameter]] = (group["lr"], group["weight_decay"])
    assert optimizer.param_groups[0]["lr"] == max(lr for lr, _ in found.values())
    return found


# Name and its layer by timm's count, of L layers; None: at the full rate.
EXPECTED: dict[str, tuple[int, dict[str, tuple[int | None, bool]]]] = {
    "vit_tiny_patch16_224": (
        13,  # the stem and 12 blocks
        {
            "backbone.network.pos_embed": (0, False),
            "backbone.network.cls_token": (0, False),
            "backbone.network.patch_embed.proj.weight": (0, True),
            "backbone.network.blocks.0.attn.qkv.weight": (1, True),
            "backbone.network.blocks.0.attn.qkv.bias": (1, False),
            "backbone.network.blocks.11.mlp.fc2.weight": (12, True),
            "backbone.network.blocks.11.norm1.weight": (12, False),
            "backbone.norms.3.weight": (None, False),
            "backbone.pyramid.0.0.weight": (None, True),
        },
    ),
    "swin_tiny_patch4_window7_224": (
        13,  # patches and 2 + 2 + 6 + 2 blocks, each merging with the block behind it
        {
            "backbone.network.patch_embed.proj.weight": (0, True),
            "backbone.network.layers.0.blocks.1.attn.proj.weight": (2, True),
            "backbone.network.layers.0.blocks.1.attn.relative_position_bias_table": (2, False),
            "backbone.network.layers.1.downsample.reduction.weight": (3, True),
            "backbone.network.layers.1.blocks.0.mlp.fc1.weight": (3, True),
            "backbone.network.layers.3.blocks.1.mlp.fc1.weight": (12, True),
        },
    ),
    "convnext_atto": (
        13,
        {
            "backbone.network.stem.0.weight": (0, True),
            "backbone.network.stages.0.blocks.0.gamma": (1, False),
            "backbone.network.stages.1.downsample.1.weight": (3, True),
            "backbone.network.stages.3.blocks.1.conv_dw.weight": (12, True),
            "backbone.norms.0.weight": (None, False),
        },
    ),
    "resnet18": (
        9,  # the stem and 8 blocks
        {
            "backbone.network.conv1.weight": (0, True),
            "backbone.network.bn1.weight": (0, False),
            "backbone.network.layer1.0.conv1.weight": (1, True),
            "backbone.network.layer4.1.conv2.weight": (8, True),
            "backbone.network.layer4.1.bn2.bias": (8, False),
        },
    ),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_rates_of_timms_layers(name: str) -> None:
    layers, expected = EXPECTED[name]
    model = Model(name)
    found = settings(model)
    assert found.keys() == {n for n, p in model.named_parameters() if p.requires_grad}
    assert found["head.weight"] == (LR, DECAY)
    assert found["head.bias"] == (LR, 0.0)
    for parameter, (layer, decays) in expected.items():
        rate = LR if layer is None else LR * RATE ** (layers - layer)
        assert found[parameter] == (pytest.approx(rate), DECAY if decays else 0.0), parameter
    rates = sorted({lr for lr, _ in found.values()})
    assert rates == pytest.approx([LR * RATE**i for i in range(layers, -1, -1)])


def test_depth_and_frozen_stages_do_not_change_the_count() -> None:
    found = settings(Model("resnet18", frozen_stages=1, out_indices=(3,)))
    assert "backbone.network.layer1.0.conv1.weight" not in found
    assert found["backbone.network.layer2.0.conv1.weight"] == (LR * RATE ** (9 - 3), DECAY)


def test_settings_of_mmengine_multiply_with_the_decay() -> None:
    keys = {"backbone": {"lr_mult": 0.1, "decay_mult": 2.0}, "head": {"lr_mult": 10.0}}
    found = settings(Model("vit_tiny_patch16_224"), custom_keys=keys)
    block = found["backbone.network.blocks.11.mlp.fc2.weight"]
    assert block == (pytest.approx(LR * 0.1 * RATE), pytest.approx(DECAY * 2))
    assert found["backbone.network.pos_embed"] == (pytest.approx(LR * 0.1 * RATE**13), 0.0)
    assert found["head.weight"] == (LR * 10, DECAY)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match="the model has no CMIDBackbone"):
        settings(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="layer_decay_rate must be above 0 and at most 1, not 2"):
        settings(Model("resnet18"), layer_decay_rate=2)
    config = {
        "optimizer": {"type": "SGD", "lr": 0.1},
        "constructor": "LayerDecayConstructor",
        "paramwise_cfg": {"layer_decay_rate": 0.9},
    }
    with pytest.raises(ValueError, match=r"needs optim_wrapper\.optimizer\.weight_decay"):
        build_optim_wrapper(Model("resnet18"), config)


@pytest.mark.parametrize("scope", ["mmseg", "mmpretrain"])
def test_adan_by_its_name_is_timms(scope: str) -> None:
    import_module(f"{scope}.engine")
    reference, ours = (nn.Parameter(torch.ones(4, 4)) for _ in range(2))
    arguments = {"lr": 1e-2, "weight_decay": 0.02, "betas": (0.98, 0.92, 0.99)}
    expected = timm.optim.Adan([reference], **arguments)
    registry = import_module(f"{scope}.registry").OPTIMIZERS
    optimizer = registry.build({"type": "Adan", "params": [ours], **arguments})
    for _ in range(4):
        gradient = torch.randn(4, 4)
        reference.grad, ours.grad = gradient.clone(), gradient.clone()
        expected.step()
        optimizer.step()
    torch.testing.assert_close(ours, reference)
    assert OPTIMIZERS.get("Adan") is timm.optim.Adan


def test_the_classification_recipe_is_the_published_one(root: Path) -> None:
    import_module("mmpretrain.engine")
    config = Config.fromfile(root / "configs/classification/_base_/mmpretrain.py")
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        optimizer = build_optim_wrapper(nn.Linear(2, 2), config.optim_wrapper).optimizer
    assert type(optimizer).__name__ == "Adan"
    assert [group["lr"] for group in optimizer.param_groups] == [3.125e-3, 3.125e-3]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.02, 0.0]
