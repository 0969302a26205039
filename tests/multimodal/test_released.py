"""Files of the released layout, with small networks, become a model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cmid.models.intermediates import intermediate_maps

pytest.importorskip("transformers", reason="extra multimodal is not installed")

import cmid.multimodal
from cmid.multimodal.experts import ExpertsConfig
from cmid.multimodal.language import AdapterConfig, add_adapter
from cmid.multimodal.released import SYSTEMS, convert_released

Part = Callable[[str], dict[str, Tensor]]
LEVELS = {"clip": (0, 2, 3), "siglip": (1, 3, 4)}
KINDS: dict[str, Any] = {"clip": "lhrs_bot", "siglip": "nova"}


def content(part: Part, tower: str) -> dict[str, Any]:
    """What a FINAL.pt holds."""
    pooler = part(f"tower_{tower}.rgb_pooler.")
    other: dict[str, Any] = {"rgb_pooler": pooler, "text_proj": {}, "lm_head": {}}
    other["embed_tokens"] = {} if tower == "siglip" else {"weight": torch.zeros(9, 48)}
    return {"rgb_ckpt": part(f"tower_{tower}.state."), "other_ckpt": other}


def system(tower: str) -> Any:
    sizes = {"queries": (6, 4, 2), "heads": 4, "tower_heads": 4, "levels": LEVELS[tower]}
    depth = 6 if tower == "clip" else 5
    return replace(SYSTEMS[KINDS[tower]], depth=depth, **sizes)


@pytest.fixture
def base(tmp_path: Path, small: Callable[..., Any]) -> Path:
    """A language model as wide as the golden perceivers' output, its tokenizer beside it."""
    model = small("tiny:llama:48x1")
    model.language.save_pretrained(tmp_path / "base")
    model.encoder.tokenizer.save_pretrained(tmp_path / "base")
    return tmp_path / "base"


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("tower", ["clip", "siglip"])
def test_a_file_becomes_a_folder_that_sees_what_the_published_model_saw(
    tower: str, wrapped: bool, part: Part, lhrs: dict[str, Tensor], base: Path, tmp_path: Path
) -> None:
    stored = content(part, tower)
    torch.save({"model": stored, "epoch": 1} if wrapped else stored, tmp_path / "FINAL.pt")
    from transformers import AutoModelForCausalLM

    language = AutoModelForCausalLM.from_pretrained(base)
    adapted: Any = add_adapter(language, AdapterConfig(rank=4, alpha=8))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    adapted.save_pretrained(tmp_path / "TextLoRA")
    ids = torch.arange(9)[None]
    logits = adapted.eval()(ids).logits
    lora = tmp_path / "TextLoRA"
    config = json.loads((lora / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "/home/somebody/llama"
    (lora / "adapter_config.json").write_text(json.dumps(config))
    if wrapped:  # the older form
        from safetensors.torch import load_file

        weights = load_file(lora / "adapter_model.safetensors")
        torch.save(weights, lora / "adapter_model.bin")
        (lora / "adapter_model.safetensors").unlink()
    done = convert_released(
        *(tmp_path / "FINAL.pt", tmp_path / "out"),
        language_model=str(base),
        system=system(tower),
    )
    said = "\n".join(done.lines)
    assert f"is of {KINDS[tower]}" in said
    assert ("pooling head: 11 tensors" in said) == (tower == "siglip")
    assert "adapter: 14 tensors" in said
    model = cmid.multimodal.load(tmp_path / "out")
    images = lhrs[f"tower_{tower}.input"]
    with torch.no_grad():
        maps = intermediate_maps(model.tower.network, images, model.tower.levels)
        levels = [each.flatten(2).transpose(1, 2) for each in maps]
        visual = model.perceiver(levels, [(3, 3)] * 3)
        torch.testing.assert_close(model.language(ids).logits, logits, atol=1e-5, rtol=1e-5)
    close = torch.testing.assert_close
    close(torch.cat(levels, dim=1), lhrs[f"tower_{tower}.levels"], atol=1e-4, rtol=1e-5)
    wanted = "visual" if tower == "clip" else "visual_published"
    close(visual, lhrs[f"tower_{tower}.{wanted}"], atol=2e-4, rtol=1e-5)
    assert model.encoder.template.name == ("llama2" if tower == "clip" else "llama3")
    assert model.fit == ("crop" if tower == "clip" else "squash")
    if tower == "siglip":
        assert model.perceiver.config.experts == ExpertsConfig(4, 2, "none")


def test_experts_get_their_activation_where_it_is_asked_for(
    part: Part, lhrs: dict[str, Tensor]
) -> None:
    from cmid.multimodal.published import perceiver_from_published

    levels = lhrs["tower_siglip.levels"].split(9, dim=1)
    for activation, name in (("gelu", "visual_gelu"), (None, "visual_published")):
        perceiver = perceiver_from_published(
            {f"module.rgb_pooler.{k}": v for k, v in part("tower_siglip.rgb_pooler.").items()},
            **{"kind": "nova", "queries": (6, 4, 2), "heads": 4, "grid": (3, 3)},
            activation=activation,  # type: ignore[arg-type]
        )
        wanted = lhrs[f"tower_siglip.{name}"]
        torch.testing.assert_close(perceiver(levels), wanted, atol=2e-4, rtol=1e-5)


def test_lhrs_bot_takes_the_weights_that_its_file_lacks_from_its_tower(
    part: Part, base: Path, tmp_path: Path
) -> None:
    stored = content(part, "clip")
    torch.save(stored, tmp_path / "FINAL.pt")
    ask = {"language_model": str(base), "system": system("clip")}
    convert_released(tmp_path / "FINAL.pt", tmp_path / "whole", **ask)
    whole = cmid.multimodal.load(tmp_path / "whole").tower
    # A timm model of the same build stands for OpenAI's.
    from cmid.export import to_timm
    from cmid.models import MaskedEncoder

    args = {k: v for k, v in whole.model_args.items() if k not in ("num_classes", "img_size")}
    encoder = MaskedEncoder(whole.architecture, img_size=42, **args)
    lost, unknown = encoder.backbone.load_state_dict(whole.network.state_dict(), strict=False)
    read = LEVELS["clip"][-1]
    assert not unknown
    assert all(int(name.split(".")[1]) > read for name in lost)
    export = to_timm(encoder, tmp_path / "tower")
    stored["rgb_ckpt"] = {}
    torch.save(stored, tmp_path / "FINAL.pt")
    done = convert_released(tmp_path / "FINAL.pt", tmp_path / "filled", tower=str(export), **ask)
    assert any("the file lacks them" in line for line in done.lines)
    filled = cmid.multimodal.load(tmp_path / "filled").tower
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(filled.network.get_parameter(name), tensor)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"other_ckpt": {}}, "no weights of a perceiver"),
        ({"other_ckpt": None}, "is no FINAL.pt"),
        ({"rgb_ckpt": {}}, "lacks 65 weights of the image tower"),
        ({"extra": {"weight": 1}}, "unknown weights: other_ckpt/extra"),
        ({"block": "encoder.layers.9.mlp.fc1.bias"}, "unknown, first blocks.9"),
    ],
)
def test_files_that_do_not_fit_are_refused(
    change: dict[str, Any], fault: str, part: Part, tmp_path: Path
) -> None:
    stored = content(part, "siglip")
    for name, value in change.items():
        if name == "extra":
            stored["other_ckpt"]["extra"] = value
        elif name == "block":
            stored["rgb_ckpt"][value] = torch.zeros(100)
        elif value is None:
            del stored[name]
        else:
            stored[name] = value
    torch.save(stored, tmp_path / "FINAL.pt")
    with pytest.raises(ValueError, match=fault):
        convert_released(
            *(tmp_path / "FINAL.pt", tmp_path / "out"),
            language_model="base",
            system=system("siglip"),
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("half", ["lora_A", "lora_B", "else"])
def test_halves_of_adapters_are_refused(half: str, part: Part, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    torch.save(content(part, "clip"), tmp_path / "FINAL.pt")
    lora = tmp_path / "TextLoRA"
    lora.mkdir()
    (lora / "adapter_config.json").write_text(json.dumps({"r": 2}))
    name = f"base_model.model.model.layers.0.mlp.up_proj.{half}.weight"
    save_file({name: torch.zeros(2, 2)}, lora / "adapter_model.safetensors")
    with pytest.raises(ValueError, match=name):
        convert_released(
            *(tmp_path / "FINAL.pt", tmp_path / "out"),
            language_model="base",
            system=system("clip"),
        )


@pytest.mark.parametrize(
    ("tower", "size", "layers", "heads", "inner", "count"),
    [("clip", 4096, 32, 32, 11008, 319_815_680), ("siglip", 4096, 32, 8, 14336, 335_544_320)],
)
def test_full_size_adapters_have_the_published_number_of_parameters(
    tower: str, size: int, layers: int, heads: int, inner: int, count: int
) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=size,
        num_hidden_layers=layers,
        num_key_value_heads=heads,
        intermediate_size=inner,
        vocab_size=128,
    )
    with torch.device("meta"):
        language = add_adapter(LlamaForCausalLM(config), AdapterConfig())
    trained = [p.numel() for p in language.parameters() if p.requires_grad]
    assert sum(trained) == count


@pytest.mark.parametrize(("kind", "count"), [("lhrs_bot", 303_179_776), ("nova", 397_747_744)])
def test_full_size_towers_have_the_published_number_of_parameters(kind: Any, count: int) -> None:
    import timm

    known = SYSTEMS[kind]
    with torch.device("meta"):
        network = timm.create_model(known.architecture, **known.model_args, depth=known.depth)
    assert sum(parameter.numel() for parameter in network.parameters()) == count
