"""Where published files keep their networks, and which one is taken."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cmid.checkpoints.layouts import MARKS
from cmid.checkpoints.networks import Network, choose, find_networks

FILE = Path("file.pth")
RESNET = ("conv1.weight", "layer1.0.conv1.weight", "layer4.1.conv2.weight")
SWIN = (
    "patch_embed.proj.weight",
    *(f"layers.{stage}.blocks.{block}.attn.qkv.weight" for stage in range(4) for block in (0, 1)),
)


def weights(prefix: str = "", names: tuple[str, ...] = RESNET, value: float = 0) -> dict[str, Any]:
    return {prefix + name: torch.full((1,), value) for name in names}


def first(content: dict[str, Any], which: str | None = None) -> Network:
    return choose(find_networks(content, FILE), which, FILE)


PREFIXES = (
    "",
    "module.",
    "backbone.",
    "encoder.",
    "encoder_q.",
    "base_encoder.",
    "student.",
    "teacher.",
    "online_encoder.",
    "model.",
    "net.",
    "module.backbone.",
    "model.module.encoder.",
    "model.student.backbone.",
    "module.online_encoder.model.",
    "_orig_mod.",
    "_orig_mod.module.backbone.",
    "module._orig_mod.",
    "_fsdp_wrapped_module.backbone.",
    "resnet.",
)
ENTRIES = (
    "model",
    "state_dict",
    "teacher",
    "student",
    "model_state_dict",
    "module",
    "ema",
    "model_ema",
    "ema_state_dict",
    "state_dict_ema",
    "params_ema",
    "checkpoint/model/state_dict",
)


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("names", [RESNET, SWIN], ids=["resnet", "swin"])
def test_any_prefix_is_found(prefix: str, names: tuple[str, ...]) -> None:
    stored = weights(prefix, names) | {
        "fc.weight": torch.zeros(1),
        f"{prefix}head.bias": torch.zeros(1),
    }
    (network,) = find_networks({"state_dict": stored, "epoch": 3}, FILE)
    assert set(network.weights) >= set(names)


@pytest.mark.parametrize("entry", ENTRIES)
def test_any_nesting_is_found(entry: str) -> None:
    content: dict[str, Any] = weights("module.")
    for name in reversed(entry.split("/")):
        content = {name: content}
    content["optimizer"] = {"state": {0: {"exp_avg": torch.zeros(1)}}, "param_groups": []}
    (network,) = find_networks(content, FILE)
    assert (network.entry, network.prefix, network.layout) == (entry, "module.", "resnet")


def test_parts_of_torch_compile_may_stand_inside_a_name() -> None:
    names = [name.replace("layer4.1", "layer4.1._orig_mod") for name in RESNET]
    (network,) = find_networks(weights("module.", tuple(names)), FILE)
    assert set(network.weights) == set(RESNET)


@pytest.mark.parametrize("layout", MARKS)
def test_every_layout_is_found_behind_a_prefix(layout: str) -> None:
    (network,) = find_networks({f"module.encoder.{MARKS[layout]}": torch.zeros(1)}, FILE)
    assert (network.prefix, network.layout) == ("module.encoder.", layout)


# content, the network that is taken, the others
SEVERAL: dict[str, tuple[dict[str, Any], str, list[str]]] = {
    "timm": ({"model_ema": weights(), "model": weights()}, "model", ["model_ema"]),
    "timm's EMA entry": (
        {"state_dict_ema": weights(), "state_dict": weights(), "optimizer": {}},
        "state_dict",
        ["state_dict_ema"],
    ),
    "OpenMMLab": (
        {"ema_state_dict": weights("module.backbone."), "state_dict": weights("backbone.")},
        "state_dict/backbone",
        ["ema_state_dict/module.backbone"],
    ),
    "BasicSR": ({"params_ema": weights(), "params": weights()}, "params", ["params_ema"]),
    "mean teacher": ({"ema": weights(), "model": weights()}, "model", ["ema"]),
    "DINO": (
        {"student": weights("module.backbone."), "teacher": weights("backbone.")},
        "teacher/backbone",
        ["student/module.backbone"],
    ),
    "DINO of Lightning": (
        {"state_dict": weights("student.") | weights("teacher.")},
        "state_dict/teacher",
        ["state_dict/student"],
    ),
    "MoCo": (
        {"state_dict": weights("module.encoder_k.") | weights("module.encoder_q.")},
        "state_dict/module.encoder_q",
        ["state_dict/module.encoder_k"],
    ),
    "MoCo-v3": (
        {"state_dict": weights("momentum_encoder.") | weights("base_encoder.")},
        "state_dict/base_encoder",
        ["state_dict/momentum_encoder"],
    ),
    "CMID": (
        {"model": weights("target_encoder.model.") | weights("online_encoder.model.")},
        "model/online_encoder.model",
        ["model/target_encoder.model"],
    ),
    "lightly": (
        {"state_dict": weights("backbone_momentum.") | weights("backbone.")},
        "state_dict/backbone",
        ["state_dict/backbone_momentum"],
    ),
    "Lightning's averaging": (
        {"state_dict": weights("model."), "averaging_state": weights("module.model.")},
        "state_dict/model",
        ["averaging_state/module.model"],
    ),
}


@pytest.mark.parametrize("case", SEVERAL)
def test_of_several_networks_one_is_taken_and_all_are_known(case: str) -> None:
    content, taken, others = SEVERAL[case]
    networks = find_networks(content, FILE)
    assert [network.name for network in networks] == [taken, *others]


def test_a_network_is_chosen_by_its_name_or_a_part_of_it() -> None:
    content = {"model": weights(value=1), "model_ema": weights("module.", value=2)}
    for which, value in {"model": 1, "model_ema": 2, "model_ema/module": 2, "module": 2}.items():
        assert float(first(content, which).weights["conv1.weight"]) == value
    pair = {"state_dict": weights("encoder_q.") | weights("encoder_k.", value=3)}
    assert float(first(pair, "encoder_k").weights["conv1.weight"]) == 3
    with pytest.raises(
        ValueError, match=r"file\.pth: no network is called 'ema'; it holds model, m"
    ):
        first(content, "ema")
    with pytest.raises(ValueError, match=r"several networks are called 'state_dict'; it holds"):
        first(pair, "state_dict")


def test_stages_and_decoders_are_no_networks_of_their_own() -> None:
    decoder = weights("decoder.", ("blocks.0.attn.qkv.weight",))
    (network,) = find_networks(weights("encoder.", SWIN) | decoder, FILE)
    assert network.name == "encoder"


def test_files_without_a_network_say_what_they_hold() -> None:
    with pytest.raises(ValueError, match="holds no weights; its entries are epoch, args"):
        find_networks({"epoch": 1, "args": {}}, FILE)
    text = re.escape("no layout that we know; its first weights are text.0.weight, text.1.weight")
    with pytest.raises(ValueError, match=text):
        find_networks({"model": weights("text.", ("0.weight", "1.weight"))}, FILE)


def test_numbered_states_of_an_optimizer_are_no_weights() -> None:
    stored: dict[str, Tensor] = weights()
    optimizer = {"state": {0: {"exp_avg": torch.zeros(3)}, 1: {"exp_avg": torch.zeros(3)}}}
    assert len(find_networks({"optimizer": optimizer, "model": stored}, FILE)) == 1
