"""Published key layouts: each source network is built here, saved, converted and compared."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.checkpoints.reading import read_published


class WindowAttention(nn.Module):
    """Attention within windows, with a table of relative positions."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        table = torch.randn((2 * window - 1) ** 2, heads) * 0.5
        self.relative_position_bias_table = nn.Parameter(table)
        place = torch.arange(window * window)
        down, across = place // window, place % window
        rows, columns = (p[:, None] - p[None] + window - 1 for p in (down, across))
        self.register_buffer("relative_position_index", rows * (2 * window - 1) + columns)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:  # (windows, cells, width)
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
        scores = scores + self.relative_position_bias_table[self.relative_position_index].permute(
            2, 0, 1
        )
        if mask is not None:
            scores = scores.unflatten(0, (-1, len(mask))) + mask[:, None]
            scores = scores.flatten(0, 1)
        return self.proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


class Holder(nn.Module):
    """A module of modules, for the nesting of names."""

    def __init__(self, **modules: nn.Module) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)


def windows(x: Tensor, size: int) -> Tensor:
    """``(B, H, W, C)`` to ``(B * windows, size * size, C)``."""
    split = x.unflatten(2, (-1, size)).unflatten(1, (-1, size))  # (B, h, size, w, size, C)
    return split.transpose(2, 3).reshape(-1, size * size, x.shape[-1])


class Block(nn.Module):
    def __init__(self, width: int, heads: int, window: int, *, shift: int, openmmlab: bool) -> None:
        super().__init__()
        self.window, self.shift, self.openmmlab = window, shift, openmmlab
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        attention = WindowAttention(width, heads, window)
        first, second = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        if openmmlab:
            self.attn: nn.Module = Holder(w_msa=attention)
            self.ffn = Holder(
                layers=nn.Sequential(nn.Sequential(first, nn.GELU()), second, nn.Identity())
            )
        else:
            self.attn = attention
            self.mlp = Holder(fc1=first, fc2=second)
        self.attention, self.feed = [attention], [nn.Sequential(first, nn.GELU(), second)]

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, C)
        batch, height, width, channels = x.shape
        size, shift = self.window, self.shift if height > self.window else 0
        mask = None
        y = self.norm1(x)
        if shift:
            y = y.roll((-shift, -shift), (1, 2))
            region = torch.zeros(1, height, width, 1)
            edges = (0, height - size, height - shift, height)
            for i in range(3):
                for j in range(3):
                    region[:, edges[i] : edges[i + 1], edges[j] : edges[j + 1]] = 3 * i + j
            cells = windows(region, size)[..., 0]
            mask = (cells[:, None] != cells[:, :, None]) * -100.0
        y = self.attention[0](windows(y, size), mask)
        y = y.reshape(batch, height // size, width // size, size, size, channels)
        y = y.permute(0, 1, 3, 2, 4, 5).reshape(x.shape)
        if shift:
            y = y.roll((shift, shift), (1, 2))
        x = x + y
        return x + self.feed[0](self.norm2(x))


class Merge(nn.Module):
    """Patch merging at the end of a stage, by nn.Unfold (OpenMMLab) or by slices (original)."""

    def __init__(self, width: int, *, openmmlab: bool) -> None:
        super().__init__()
        self.openmmlab = openmmlab
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.openmmlab:
            grid = (x.shape[1] // 2, x.shape[2] // 2)
            merged = nn.functional.unfold(x.permute(0, 3, 1, 2), 2, stride=2)
            merged = merged.transpose(1, 2).unflatten(1, grid)
        else:
            merged = torch.cat([x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)], dim=-1)
        return self.reduction(self.norm(merged))


class Swin(nn.Module):
    """Swin-T with window 7 at 224 pixels, in the two published layouts of names."""

    def __init__(self, *, openmmlab: bool, width: int = 96) -> None:
        super().__init__()
        patches = nn.Conv2d(3, width, 4, stride=4)
        name = "projection" if openmmlab else "proj"
        self.patch_embed = Holder(**{name: patches, "norm": nn.LayerNorm(width)})
        self.patches = [patches]
        stages = nn.ModuleList()
        for index, (depth, heads) in enumerate(zip((2, 2, 6, 2), (3, 6, 12, 24), strict=True)):
            wide = width * 2**index
            blocks = nn.ModuleList(
                Block(wide, heads, 7, shift=3 * (i % 2), openmmlab=openmmlab) for i in range(depth)
            )
            parts: dict[str, nn.Module] = {"blocks": blocks}
            if index < 3:
                parts["downsample"] = Merge(wide, openmmlab=openmmlab)
            stages.append(Holder(**parts))
        self.add_module("stages" if openmmlab else "layers", stages)
        self.all_stages = [stages]
        self.last = "norm3" if openmmlab else "norm"
        self.add_module(self.last, nn.LayerNorm(8 * width))
        if openmmlab:
            for index in range(3):
                self.add_module(f"norm{index}", nn.LayerNorm(width * 2**index))

    def forward(self, images: Tensor) -> Tensor:
        x = self.patch_embed.get_submodule("norm")(self.patches[0](images).permute(0, 2, 3, 1))
        for stage in self.all_stages[0]:
            for block in stage.blocks:
                x = block(x)
            if hasattr(stage, "downsample"):
                x = stage.downsample(x)
        return self.get_submodule(self.last)(x).mean((1, 2))


def randomised(network: nn.Module) -> nn.Module:
    """Other than initial norms and biases, so that no wrong order goes unnoticed."""
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and tensor.ndim == 1:
            tensor.add_(
                0.2 * torch.rand_like(tensor) if "var" in name else 0.1 * torch.randn_like(tensor)
            )
    return network.eval()


def prefixed(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in weights.items()}


def resnet(name: str = "resnet50") -> nn.Module:
    return randomised(getattr(torchvision.models, name)(num_classes=10))


def without_classifier(network: Any) -> Callable[[Tensor], Tensor]:
    network.fc = nn.Identity()
    return network


def check(path: Path, source: Callable[[Tensor], Tensor], size: int = 224) -> dict[str, Any]:
    encoder, provenance = read_published(path)
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        got, expected = encoder.pooled(images), source(images)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    return provenance


@pytest.mark.slow
def test_cmid_resnet_with_its_heads(tmp_path: Path) -> None:
    network = resnet()
    weights = {k: v for k, v in network.state_dict().items() if not k.startswith("fc.")}
    heads = {"online_encoder.projector.0.weight": torch.zeros(3, 3)}
    teacher = prefixed(weights, "target_encoder.model.")
    content = {
        "model": prefixed(weights, "online_encoder.model.") | heads | teacher,
        "args": argparse.Namespace(lr=1e-3),
        "epoch": 199,
    }
    torch.save(content, tmp_path / "cmid.pth")
    provenance = check(tmp_path / "cmid.pth", without_classifier(network))
    assert provenance["prefix"] == "online_encoder.model."
    assert provenance["dropped"] == {"online_encoder": 1, "target_encoder": len(weights)}


@pytest.mark.parametrize("openmmlab", [True, False])
def test_swin_of_openmmlab_and_of_simmim(openmmlab: bool, tmp_path: Path) -> None:
    network = randomised(Swin(openmmlab=openmmlab))
    weights = network.state_dict()
    if openmmlab:
        content = {"model": prefixed(weights, "online_encoder.model.")}
    else:
        extra = {"encoder.mask_token": torch.zeros(1, 1, 96), "decoder.0.weight": torch.zeros(1)}
        content = {"model": prefixed(weights, "encoder.") | extra}
    torch.save(content, tmp_path / "swin.pth")
    provenance = check(tmp_path / "swin.pth", network)
    assert provenance["layout"] == ("openmmlab swin" if openmmlab else "swin")
    if openmmlab:
        assert provenance["dropped"] == {f"stage{i}_norm": 2 for i in range(3)}
    else:
        assert provenance["dropped"] == {"decoder": 1, "mask_token": 1}


def test_positions_in_another_order_are_refused(tmp_path: Path) -> None:
    weights = Swin(openmmlab=True).state_dict()
    name = "stages.0.blocks.0.attn.w_msa.relative_position_index"
    weights[name] = weights[name].T.contiguous()
    torch.save(weights, tmp_path / "swin.pth")
    with pytest.raises(ValueError, match="another order"):
        read_published(tmp_path / "swin.pth")


def vit() -> Any:
    return randomised(
        timm.create_model("vit_tiny_patch16_224", num_classes=0, global_pool="avg", fc_norm=False)
    )


@pytest.mark.parametrize("method", ["mae", "mocov3", "dino", "ibot", "bare"])
def test_vision_transformers(method: str, tmp_path: Path) -> None:
    network = vit()
    w = network.state_dict()
    content: Any = {
        "mae": {
            "model": w | {"mask_token": torch.zeros(1), "decoder_embed.weight": w["norm.bias"]}
        },
        "mocov3": {
            "state_dict": prefixed(w, "module.base_encoder.")
            | prefixed(w, "module.momentum_encoder.")
            | {
                "module.base_encoder.head.0.weight": torch.zeros(3),
                "module.predictor.0": w["norm.bias"],
            }
        },
        "dino": {
            "student": prefixed({k: v * 0 for k, v in w.items()}, "module.backbone."),
            "teacher": prefixed(w, "backbone.") | {"head.mlp.0.weight": torch.zeros(2)},
        },
        "ibot": {
            "state_dict": prefixed(w, "backbone.") | {"backbone.masked_embed": torch.zeros(1)}
        },
        "bare": w,
    }[method]
    path = tmp_path / f"{method}.pth"
    torch.save(content, path)
    provenance = check(path, network)
    assert sum(provenance["dropped"].values()) == {"mae": 2, "bare": 0, "dino": 1, "ibot": 1}.get(
        method, 2 + len(w)
    )


@pytest.mark.parametrize("method", ["moco", "seco", "torchvision"])
def test_residual_networks(method: str, tmp_path: Path) -> None:
    network = resnet("resnet18")
    weights = network.state_dict()
    source = without_classifier(network)
    numbered = nn.Sequential(*list(network.children())[:-1]).state_dict()
    content = {
        "moco": {
            "state_dict": prefixed(weights, "module.encoder_q.")
            | prefixed(weights, "module.encoder_k.")
            | {"module.queue": torch.zeros(2)}
        },
        "seco": {
            "state_dict": prefixed(numbered, "encoder_q.") | prefixed(numbered, "encoder_k."),
            "hyper_parameters": {"lr": 0.03},
        },
        "torchvision": weights,
    }[method]
    torch.save(content, tmp_path / "net.pth")
    check(tmp_path / "net.pth", source, size=64)
    if method == "torchvision":
        save_file(weights, tmp_path / "net.safetensors")
        check(tmp_path / "net.safetensors", source, size=64)


def test_nothing_is_loaded_by_halves(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    weights = resnet("resnet18").state_dict()
    torch.save({k: v for k, v in weights.items() if "layer2.0.conv1" not in k}, path)
    with pytest.raises(ValueError, match=r"lacks 1 weights of resnet18, first layer2\.0\.conv1"):
        read_published(path)
    torch.save(weights | {"layer2.0.gate.weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"has unknown 1 weights .* layer2\.0\.gate\.weight"):
        read_published(path)
    torch.save({"features.0.weight": torch.zeros(1), "epoch": 3}, path)
    with pytest.raises(ValueError, match=r"no layout that we know.* features\.0\.weight"):
        read_published(path)
    torch.save({"epoch": 3}, path)
    with pytest.raises(ValueError, match="holds no weights; its entries are epoch"):
        read_published(path)


class Dangerous:
    def __reduce__(self) -> Any:
        return print, ("this must never run",)


def test_unsafe_and_truncated_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.pth"
    torch.save({"model": Dangerous()}, path)
    with pytest.raises(ValueError, match=r"net\.pth .*could run code"):
        read_published(path)
    assert "never run" not in capsys.readouterr().out
    torch.save(resnet("resnet18").state_dict(), path)
    path.write_bytes(path.read_bytes()[:10000])
    with pytest.raises(ValueError, match=r"net\.pth is not a checkpoint, or is truncated"):
        read_published(path)
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        read_published(tmp_path / "none.pth")


def export_command(root: Path) -> Any:
    spec = importlib.util.spec_from_file_location("export_command", root / "tools/export.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_command_reads_published_files(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = resnet("resnet18")
    content = {"model": prefixed(network.state_dict(), "online_encoder.model.")}
    torch.save(content, tmp_path / "cmid.pth")
    command, out = export_command(root), tmp_path / "out"
    command.main([str(tmp_path / "cmid.pth"), str(out), "--img_size", "64"])
    printed = capsys.readouterr().out
    assert "resnet18 at 64 pixels" in printed
    assert "fc (2)" in printed
    model = timm.create_model(f"local-dir:{out}", pretrained=True).eval()
    images = torch.randn(1, 3, 64, 64)
    expected = without_classifier(network)(images)
    torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-5)
    assert model.pretrained_cfg["mean"] == pytest.approx((0.33797, 0.3605, 0.3348))
    command.main([str(out), str(tmp_path / "tv.safetensors"), "--format", "torchvision"])
    again = torchvision.models.resnet18()
    left = again.load_state_dict(load_file(tmp_path / "tv.safetensors"), strict=False)
    assert left.missing_keys == ["fc.weight", "fc.bias"]
    assert left.unexpected_keys == []
    torch.save(Swin(openmmlab=True).state_dict(), tmp_path / "swin.pth")
    with pytest.raises(SystemExit, match=r"error: .*swin_tiny.* is no ResNet of torchvision"):
        command.main([str(tmp_path / "swin.pth"), str(out), "--format", "torchvision"])
