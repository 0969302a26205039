"""OpenMMLab's own networks with exported weights against timm's, stage by stage."""

from __future__ import annotations

import functools
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from cmid.checkpoints.openmmlab_names import from_openmmlab_names, to_openmmlab_names
from cmid.export.openmmlab import PACKAGES, Package, to_openmmlab
from cmid.models import MaskedEncoder
from tests.checkpoints.reading import read_published

# Swin in windows of 2: the last of its maps, 4 x 4, is larger than a window, as in OpenMMLab's use.
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet18": ("resnet18", {"img_size": 64}),
    "resnet50": ("resnet50", {"img_size": 64}),
    "swin": ("swin_tiny_patch4_window7_224", {"img_size": 128, "window_size": 2}),
    "vit": ("vit_tiny_patch16_224", {"img_size": 64}),
    "vit without class token": ("vit_tiny_patch16_224", {"img_size": 64, "class_token": False}),
    "vit, token without position": (
        "vit_small_patch16_224",
        {"img_size": 64, "no_embed_class": True, "depth": 4},
    ),
    "convnext": ("convnext_tiny", {"img_size": 64, "depths": (1, 1, 2, 1)}),
    "convnext of convolutions, four bands": ("convnext_atto", {"img_size": 64, "in_chans": 4}),
    "convnext v2": ("convnextv2_atto", {"img_size": 64}),
}


@functools.cache
def encoder_of(key: str) -> MaskedEncoder:
    """Other than initial norms, biases and statistics, so that no wrong order goes unnoticed."""
    name, arguments = NETWORKS[key]
    encoder = MaskedEncoder(name, **arguments).eval()
    with torch.no_grad():
        for name, tensor in encoder.backbone.state_dict().items():
            if tensor.is_floating_point():
                drift = torch.rand_like(tensor) if "var" in name else torch.randn_like(tensor)
                tensor.add_(0.1 * drift if tensor.ndim < 2 else 0.02 * drift)
    return encoder


def registry(package: str) -> Any:
    import_module(f"{package}.models")
    import_module("mmpretrain.models")
    return import_module(f"{package}.registry").MODELS


def build(package: str, arguments: dict[str, Any]) -> Any:
    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope(package):
        network = registry(package).build(dict(arguments))
    network.eval()  # OpenMMLab's own train() returns nothing
    return network


@torch.no_grad()
def stages(encoder: MaskedEncoder, images: Tensor, network: nn.Module) -> list[Tensor]:
    """timm's stages; behind those that OpenMMLab normalises, timm's norm or a new one."""
    backbone = encoder.backbone
    info = backbone.feature_info
    if len({i["reduction"] for i in info}) == 1:
        wanted = [len(info) * (i + 1) // 4 - 1 for i in range(4)]
    else:
        wanted = list(range(len(info)))[-4:]
    maps = backbone.forward_intermediates(images, indices=wanted, intermediates_only=True)
    final = getattr(backbone, "norm", None) or getattr(getattr(backbone, "head", 0), "norm", None)
    norms = [network._modules.get(f"norm{index}") for index in range(3)]
    new = {index: norm for index, norm in enumerate(norms) if norm is not None}
    for index, norm in (new | ({3: final} if final else {})).items():
        last = maps[index].permute(0, 2, 3, 1)
        learned = (norm.weight, norm.bias) if index == 3 else (None, None)
        normalised = nn.functional.layer_norm(last, norm.normalized_shape, *learned, norm.eps)
        maps[index] = normalised.permute(0, 3, 1, 2)
    return maps


@pytest.mark.parametrize("package", ["mmseg", "mmdet", "mmpretrain"])
@pytest.mark.parametrize("key", NETWORKS)
def test_stages_equal_timms(key: str, package: Package) -> None:
    pytest.importorskip("mmcv._ext", reason="extra openmmlab is not installed")
    encoder = encoder_of(key)
    native = to_openmmlab(encoder, package)
    network = build(package, native.arguments)
    left = network.load_state_dict(native.weights, strict=False)
    assert left.unexpected_keys == []
    assert {name.rpartition(".")[0] for name in left.missing_keys} == set(native.new)
    images = torch.randn(2, encoder.in_chans, encoder.img_size, encoder.img_size)
    with torch.no_grad():
        maps = network(images)
    expected = stages(encoder, images, network)[-len(maps) :]
    assert len(maps) == (1 if package == "mmpretrain" else 4)
    for ours, theirs in zip(maps, expected, strict=True):
        scale = theirs.abs().max()
        torch.testing.assert_close(ours / scale, theirs / scale, atol=1e-5, rtol=0)


@pytest.mark.parametrize("package", ["mmrotate", "mmdet"])
def test_mmrotate_takes_mmdetections_networks(package: Package) -> None:
    pytest.importorskip("mmcv._ext", reason="extra openmmlab is not installed")
    for key, home in {"resnet18": "mmdet", "swin": "mmdet", "vit": "mmpretrain"}.items():
        network = build(package, to_openmmlab(encoder_of(key), package).arguments)
        assert type(network).__module__.startswith(home), key


@pytest.mark.parametrize(
    ("key", "package", "suffix"),
    [
        ("resnet18", "mmdet", ".pth"),
        ("swin", "mmrotate", ".safetensors"),
        ("vit", "mmseg", ".pth"),
        ("vit", "mmpretrain", ".safetensors"),
        ("convnext v2", "mmdet", ".pth"),
    ],
)
def test_files_are_read_back(key: str, package: Package, suffix: str, tmp_path: Path) -> None:
    encoder = encoder_of(key)
    path = to_openmmlab(encoder, package).save(tmp_path / f"backbone{suffix}")
    name, arguments = NETWORKS[key]
    again, provenance = read_published(path, img_size=arguments["img_size"])
    assert again.name.startswith(name.partition("_patch")[0])
    assert provenance["dropped"] == {}
    weights = again.backbone.state_dict()
    assert weights.keys() == encoder.backbone.state_dict().keys()
    for key, tensor in encoder.backbone.state_dict().items():
        assert torch.equal(weights[key], tensor), key


@pytest.mark.parametrize("key", NETWORKS)
def test_names_go_both_ways(key: str) -> None:
    weights = encoder_of(key).backbone.state_dict()
    layouts = {"r": ["openmmlab resnet"], "s": ["openmmlab swin"], "c": ["openmmlab convnext"]}
    for layout in layouts.get(key[0], ["mmseg vit", "mmpretrain vit"]):
        again = from_openmmlab_names(to_openmmlab_names(weights, layout), layout)
        padded = {"cls_token", "pos_embed"} if key.startswith("vit") else set()
        assert again.keys() | padded == weights.keys() | padded
        for name in weights.keys() - padded:
            assert torch.equal(again[name], weights[name]), name


def test_norms_of_other_stages_and_heads_are_no_part_of_an_encoder(tmp_path: Path) -> None:
    native = to_openmmlab(encoder_of("convnext v2"), "mmdet")
    extra = {"norm0.weight": torch.ones(40), "norm0.bias": torch.zeros(40)}
    weights = {f"backbone.{k}": v for k, v in (native.weights | extra).items()}
    content = {"meta": {"epoch": 3}, "state_dict": weights | {"neck.a": torch.ones(1)}}
    torch.save(content, tmp_path / "detector.pth")
    encoder, provenance = read_published(tmp_path / "detector.pth")
    assert encoder.name == "convnextv2_atto"
    assert provenance["layout"] == "openmmlab convnext"
    assert provenance["dropped"] == {"neck": 1, "stage0_norm": 2}


def test_files_hold_plain_tensors_and_nothing_half_written(tmp_path: Path) -> None:
    native = to_openmmlab(encoder_of("resnet18"), "mmdet")
    weights = torch.load(native.save(tmp_path / "a" / "net.pth"), weights_only=True)
    assert all(name.startswith("backbone.") for name in weights)
    stored = load_file(native.save(tmp_path / "a" / "net.safetensors"))
    assert stored.keys() == weights.keys()
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["net.pth", "net.safetensors"]
    with pytest.raises(ValueError, match=r"net\.bin must end in \.pth or \.safetensors"):
        native.save(tmp_path / "net.bin")


def test_the_lines_of_a_configuration(tmp_path: Path) -> None:
    text = to_openmmlab(encoder_of("swin"), "mmseg").describe("swin.safetensors")
    assert "custom_imports = dict(imports=['benchmarks.openmmlab'])" in text
    assert "# not in the file, they start new: norm0, norm1, norm2" in text
    expected = "init_cfg=dict(type='Pretrained', prefix='backbone.', checkpoint='swin.safetensors')"
    assert expected in text
    text = to_openmmlab(encoder_of("vit"), "mmdet").describe("vit.pth")
    assert "custom_imports = dict(imports=['mmpretrain.models'])" in text
    settings = "backbone=dict(" + text.partition("backbone=dict(")[2].partition("\n)")[0] + "\n)"
    arguments = eval(f"dict({settings})", {"dict": dict})["backbone"]
    assert arguments.pop("init_cfg")["checkpoint"] == "vit.pth"
    assert arguments == to_openmmlab(encoder_of("vit"), "mmdet").arguments


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("resnet50d", {}, "OpenMMLab has no resnet50d; it has resnet18"),
        ("resnetblur18", {}, "OpenMMLab has no resnetblur18"),
        (
            "swin_tiny_patch4_window7_224",
            {"img_size": 64},
            r"windows of several sizes, \[2, 4, 7\]",
        ),
        ("vit_tiny_patch16_224", {"qk_norm": True}, r"no place for blocks\.0\.attn\.q_norm"),
        ("vit_tiny_patch16_224", {"init_values": 0.1}, r"no place for blocks\.0\.ls1\.gamma"),
        ("vit_tiny_patch16_224", {"reg_tokens": 4}, "no place for reg_token"),
        ("vit_tiny_patch16_224", {"act_layer": "gelu_tanh"}, "in place of GELU"),
        ("convnext_atto_ols", {}, "a stem of several convolutions"),
    ],
)
def test_other_networks_are_refused(name: str, arguments: dict[str, Any], reason: str) -> None:
    encoder = MaskedEncoder(name, **({"img_size": 64} | arguments))
    for package in PACKAGES:
        with pytest.raises(ValueError, match=reason):
            to_openmmlab(encoder, package)


def test_where_features_differ_it_says_so() -> None:
    dilated = MaskedEncoder("resnet18", img_size=64, output_stride=16)
    assert "output_stride 16" in to_openmmlab(dilated, "mmdet").describe("a.pth")
    swin = MaskedEncoder("swin_tiny_patch4_window7_224", img_size=224)
    assert "without shift" in to_openmmlab(swin, "mmseg").describe("a.pth")
    assert to_openmmlab(encoder_of("swin"), "mmseg").notes == ()
