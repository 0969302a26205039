"""Files that earlier versions wrote load as they did; what they held is written out here."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from cmid.checkpoints import identify, load_backbone
from cmid.export import to_timm

NAME = "convnext_atto"
SMALL: dict[str, Any] = {"num_classes": 0, "depths": (1, 1, 1, 1), "dims": (4, 8, 8, 8)}
MEAN, STD = [0.1, 0.2, 0.3], [0.2, 0.3, 0.4]
LOW, HIGH = [1.0, 2.0, 3.0], [101.0, 202.0, 303.0]


@pytest.fixture
def network() -> Any:
    torch.manual_seed(1)
    return timm.create_model(NAME, global_pool="avg", in_chans=3, **SMALL).eval()


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 100 + 1


def expected_features(network: Any, pixels: torch.Tensor) -> torch.Tensor:
    low, high, mean, std = (torch.tensor(v).view(3, 1, 1) for v in (LOW, HIGH, MEAN, STD))
    return network(((pixels - low) / (high - low) - mean) / std)


def write_export(folder: Path, network: Any, *, ranges: bool = True) -> Path:
    """An export with the keys that it had before loading became a room of its own."""
    folder.mkdir()
    path = folder / "model.safetensors"
    save_file(network.state_dict(), path, metadata={"format": "pt"})
    about = {"low": LOW, "high": HIGH} if ranges else {}
    config = {
        "architecture": NAME,
        "num_classes": 0,
        "num_features": 8,
        "global_pool": "avg",
        "model_args": {"in_chans": 3, "global_pool": "avg", **SMALL},
        "pretrained_cfg": {
            "input_size": [3, 64, 64],
            "fixed_input_size": False,
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": MEAN,
            "std": STD,
            "num_classes": 0,
            "pool_size": None,
            "first_conv": "stem.0",
            "classifier": "head.fc",
        },
        "cmid": {
            "stem": "stem",
            **about,
            "version": "0.1.0",
            "method": "CMID",
            "mask_mode": "add",
            "global_step": 7,
            "epoch": 2,
            "weights": {"reconstruction": 1.0, "contrastive": 1.0, "local": 1.0},
            "relative_target": False,
            "which": "student",
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        },
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    return folder


@torch.no_grad()
def test_an_earlier_export_gives_the_same_features(
    network: Any, pixels: torch.Tensor, tmp_path: Path
) -> None:
    folder = write_export(tmp_path / "export", network)
    backbone = load_backbone(str(folder))
    assert torch.equal(
        backbone.encoder.pooled(backbone.standardize(pixels)), expected_features(network, pixels)
    )
    assert backbone.size == 64
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(identify(str(folder)).build().eval().pooled(images), network(images))


def test_an_earlier_export_without_ranges_is_of_8_bit_images(network: Any, tmp_path: Path) -> None:
    folder = write_export(tmp_path / "export", network, ranges=False)
    statistics = load_backbone(str(folder)).standardize.statistics
    assert statistics.is_8bit
    assert (statistics.low, statistics.high) == ((0.0,) * 3, (255.0,) * 3)


@pytest.mark.parametrize("which", ["student", "teacher", None])
@torch.no_grad()
def test_an_earlier_checkpoint_gives_the_same_features(
    network: Any, pixels: torch.Tensor, which: str | None, tmp_path: Path
) -> None:
    """It names neither its encoders nor the stem, the mask or the kind of images."""
    zero = {name: 0 * tensor for name, tensor in network.state_dict().items()}
    roles = {"student": "student.encoder.", "teacher": "teacher.module.encoder."}
    other = "student" if which == "teacher" else "teacher"
    state = {f"{roles[other]}backbone.{name}": tensor for name, tensor in zero.items()}
    taken = roles[which or "student"]
    state |= {f"{taken}backbone.{name}": t for name, t in network.state_dict().items()}
    state |= {f"{roles[role]}mask_token": torch.zeros(4) for role in roles}
    about = {
        "version": "0.1.0",
        "model_name": NAME,
        "in_chans": 3,
        "img_size": 64,
        "model_kwargs": {"global_pool": "avg", **SMALL},
        "mean": MEAN,
        "std": STD,
        "low": LOW,
        "high": HIGH,
        "global_step": 7,
        "epoch": 2,
    }
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": state, "cmid": about, "loops": {}}, path)
    backbone = load_backbone(str(path), which=which)
    assert torch.equal(
        backbone.encoder.pooled(backbone.standardize(pixels)), expected_features(network, pixels)
    )
    if which is not None:
        folder = to_timm(path, tmp_path / "export", which=which)
        again = load_backbone(str(folder))
        assert torch.equal(
            again.encoder.pooled(again.standardize(pixels)), expected_features(network, pixels)
        )
        config = json.loads((folder / "config.json").read_text())
        assert (config["cmid"]["which"], config["cmid"]["low"]) == (which, LOW)
