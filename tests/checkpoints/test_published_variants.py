"""Published files as they come: bands, sizes, registers, several networks, parts left over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from cmid.checkpoints import identify, load_backbone
from cmid.checkpoints.published import standardisation
from cmid.export import to_timm
from cmid.models import MaskedEncoder
from tests.checkpoints.reading import read_published
from tests.checkpoints.test_published import export_command
from tests.integration.in_process import run

VIT = "vit_tiny_patch16_224"


def network(name: str, **arguments: Any) -> Any:
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=0, **arguments).eval()


def prefixed(prefix: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in weights.items()}


@pytest.mark.parametrize("bands", [1, 10, 12, 13])
def test_bands_are_those_of_the_first_convolution(bands: int, tmp_path: Path) -> None:
    weights = network("resnet18", in_chans=bands).state_dict()
    torch.save({"state_dict": prefixed("module.encoder_q.", weights)}, tmp_path / "b.pth")
    encoder, _ = read_published(tmp_path / "b.pth")
    assert encoder.in_chans == encoder.backbone.conv1.in_channels == bands


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        (VIT, {"global_pool": "avg", "fc_norm": False}),
        ("swin_tiny_patch4_window7_224", {}),
        ("convnext_atto", {}),
    ],
)
def test_stems_of_every_family_show_their_bands(
    name: str, arguments: dict[str, Any], tmp_path: Path
) -> None:
    source = network(name, in_chans=4, **arguments)
    torch.save({"model": source.state_dict()}, tmp_path / "b.pth")
    encoder, _ = read_published(tmp_path / "b.pth")
    images = torch.randn(1, 4, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(encoder.pooled(images), source(images))


def test_a_named_architecture_keeps_the_bands_of_the_file(tmp_path: Path) -> None:
    torch.save(network("resnet26", in_chans=6).state_dict(), tmp_path / "b.pth")
    with pytest.raises(ValueError, match=r"b\.pth: a ResNet of \(2, 2, 2, 2\) blocks is not known"):
        read_published(tmp_path / "b.pth")
    encoder, _ = read_published(tmp_path / "b.pth", architecture="resnet26")
    assert encoder.in_chans == 6


@pytest.mark.parametrize(
    "arguments",
    [
        {"img_size": 112, "patch_size": 8},
        {"img_size": 96, "class_token": False},
        {"img_size": 96, "no_embed_class": True},
        {"img_size": 96, "reg_tokens": 4, "no_embed_class": True},
        {"img_size": 98, "patch_size": 14, "init_values": 1e-5},
        {"img_size": 96, "qkv_bias": False},
    ],
)
def test_sizes_and_tokens_of_vision_transformers_are_found(
    arguments: dict[str, Any], tmp_path: Path
) -> None:
    source = network(VIT, global_pool="avg", fc_norm=False, **arguments)
    torch.save(source.state_dict(), tmp_path / "vit.pth")
    encoder, _ = read_published(tmp_path / "vit.pth")
    images = torch.randn(1, 3, arguments["img_size"], arguments["img_size"])
    with torch.no_grad():
        torch.testing.assert_close(encoder.pooled(images), source(images))
    assert encoder.img_size == arguments["img_size"]


def test_registers_of_dinov2_take_the_class_tokens_position_with_them(tmp_path: Path) -> None:
    source = network(
        VIT, img_size=96, reg_tokens=4, no_embed_class=True, global_pool="avg", fc_norm=False
    )
    weights = source.state_dict()
    position = torch.randn(1, 1, 192)
    published = {k: v for k, v in weights.items() if k != "reg_token"}
    published["register_tokens"] = weights["reg_token"]
    published["pos_embed"] = torch.cat([position, weights["pos_embed"]], dim=1)
    published["cls_token"] = weights["cls_token"] - position
    torch.save(published | {"mask_token": torch.zeros(1, 192)}, tmp_path / "vit.pth")
    encoder, provenance = read_published(tmp_path / "vit.pth")
    images = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(encoder.pooled(images), source(images), rtol=1e-4, atol=1e-5)
    assert provenance["dropped"] == {"mask_token": 1}


def test_heads_of_many_kinds_are_left_and_named(tmp_path: Path) -> None:
    weights = network("convnext_atto").state_dict()
    heads = ("head.fc", "fc", "classifier", "projector.0", "projection_head.2", "predictor.0")
    heads += ("decoder.3", "decode_head.conv", "seg_head.0", "prototypes", "auxiliary.0")
    torch.save(weights | {f"{head}.weight": torch.zeros(1) for head in heads}, tmp_path / "net.pth")
    _, provenance = read_published(tmp_path / "net.pth")
    assert provenance["dropped"] == {head.split(".")[0]: 1 for head in heads}
    assert provenance["used"] == len(weights)


@pytest.fixture(scope="module")
def averaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    weights = network("convnext_atto").state_dict()
    path = tmp_path_factory.mktemp("averaged") / "net.pth"
    halves = {name: tensor / 2 for name, tensor in weights.items()}
    torch.save({"model": weights, "model_ema": prefixed("module.", halves), "epoch": 3}, path)
    return path


def test_the_command_says_which_network_it_takes_and_takes_another(
    averaged: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = export_command(root)
    command.main([str(averaged), str(tmp_path / "a")])
    assert "network model, the file also holds model_ema/module" in capsys.readouterr().out
    command.main([str(averaged), str(tmp_path / "b"), "--which", "model_ema"])
    assert "network model_ema/module, the file also holds model (" in capsys.readouterr().out
    first, second = (identify(str(tmp_path / name)).build().backbone.state_dict() for name in "ab")
    assert all(torch.equal(first[name] / 2, second[name]) for name in first)
    config = json.loads((tmp_path / "b/config.json").read_text())
    assert (config["cmid"]["network"], config["cmid"]["others"]) == ("model_ema/module", ["model"])
    with pytest.raises(
        SystemExit, match=r"no network is called 'teacher'; it holds model, model_e"
    ):
        command.main([str(averaged), str(tmp_path / "c"), "--which", "teacher"])
    assert not (tmp_path / "c").exists()


def test_evaluation_reads_published_files_and_says_which_network(
    averaged: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backbone = load_backbone(str(averaged))
    assert "the file also holds model_ema/module" in caplog.text
    expected = network("convnext_atto").state_dict()
    got = backbone.encoder.backbone.state_dict()
    assert all(torch.equal(got[name], expected[name]) for name in expected)


def test_bands_without_known_statistics_are_asked_for(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "b.pth", str(tmp_path / "out")
    torch.save(network("convnext_atto", in_chans=13).state_dict(), path)
    command = export_command(root)
    for arguments, text in {
        (): r"b\.pth reads 13 bands, and does not say .* --mean and --std",
        ("--mean", "0", "1", "--std", "1"): r"2 values of mean for the 13 bands",
    }.items():
        with pytest.raises(SystemExit, match=text):
            command.main([str(path), out, *arguments])
    with pytest.raises(ValueError, match="--mean and --std"):
        load_backbone(str(path))
    scale = ["--mean", "0.1", "--std", "0.2", "--low", "0", "--high", "10000"]
    command.main([str(path), out, *scale])
    backbone = load_backbone(out)
    standardised = backbone.standardize(torch.full((1, 13, 32, 32), 3000.0))
    torch.testing.assert_close(standardised, torch.ones(1, 13, 32, 32))
    model = timm.create_model(f"local-dir:{out}", pretrained=True)
    assert len(model.pretrained_cfg["mean"]) == 13


def test_default_statistics_follow_the_network() -> None:
    cmid = standardisation({"prefix": "module.online_encoder.model.", "source": "x"})
    other = standardisation({"prefix": "encoder_q.", "source": "x"})
    assert cmid["mean"] == pytest.approx([0.33797, 0.3605, 0.3348])
    assert other["mean"] == pytest.approx([0.485, 0.456, 0.406])


def test_missing_unknown_and_misshapen_weights_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    weights = network("convnext_atto").state_dict()
    extra = {f"stages.{i}.gate": torch.zeros(1) for i in range(7)}
    kept = {k: v for k, v in weights.items() if not k.startswith("stages.3.blocks.1.mlp.fc")}
    torch.save(kept | extra, path)
    text = r"lacks 4 weights of convnext_atto, first stages\.3.* and has unknown 7 .*--architecture"
    with pytest.raises(ValueError, match=text) as error:
        read_published(path)
    assert "\n" not in str(error.value)
    torch.save(weights | {"stem.1.bias": torch.zeros(7)}, path)
    with pytest.raises(
        ValueError, match=r"stem\.1\.bias is \(7,\), convnext_atto at 224 pixels has"
    ):
        read_published(path)


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        (VIT, "patch_embed.proj.weight"),
        ("convnext_atto", "stem.0.weight"),
        ("resnet18", "conv1.weight"),
    ],
)
def test_a_file_without_its_stem_is_one_line(name: str, lost: str, tmp_path: Path) -> None:
    weights = network(name).state_dict()
    del weights[lost]
    torch.save(weights, tmp_path / "net.pth")
    with pytest.raises(ValueError, match=rf"net\.pth: {lost} is missing"):
        read_published(tmp_path / "net.pth")


def test_networks_that_are_not_read_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save(
        {
            "patch_embed.proj.weight": torch.zeros(96, 3, 4, 4),
            "layers.0.blocks.0.attn.qkv.weight": torch.zeros(1),
            "layers.0.blocks.0.attn.cpb_mlp.0.weight": torch.zeros(1),
        },
        path,
    )
    with pytest.raises(ValueError, match=r"net\.pth: Swin-V2 is not read"):
        read_published(path)
    torch.save(
        {
            "patch_embed.proj.weight": torch.zeros(768, 6, 1, 16, 16),
            "blocks.0.attn.qkv.weight": torch.zeros(1),
        },
        path,
    )
    with pytest.raises(ValueError, match="is not a convolution of images"):
        read_published(path)


DAMAGE: dict[str, tuple[Any, str]] = {
    "architecture": ("resnet19x", "resnet19x"),
    "model_args": ([], "'model_args' is"),
    "model_args.img_size": ("big", "convnext_atto"),
    "model_args.no_such_argument": (3, "no_such_argument"),
    "model_args.depths": ((1, 1, 1, 1), "does not hold a convnext_atto: .* weights unknown"),
    "model_args.in_chans": (5, "does not hold a convnext_atto: 1 weights of another shape"),
    "cmid.stem": (None, "'cmid.stem' is None"),
    "cmid.sha256": ("0" * 64, "is damaged"),
    "cmid": (None, "'cmid' is None"),
    "pretrained_cfg": (None, "'pretrained_cfg' is None"),
    "pretrained_cfg.input_size": ([3], "'pretrained_cfg.input_size' is"),
    "pretrained_cfg.mean": ([0.5], "'pretrained_cfg.mean' is .* not a list of a number for each"),
    "pretrained_cfg.std": (["a", "b", "c"], "'pretrained_cfg.std' is"),
}


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    encoder = MaskedEncoder("convnext_atto", img_size=64).eval()
    return to_timm(encoder, tmp_path_factory.mktemp("export") / "folder")


@pytest.mark.parametrize("entry", DAMAGE)
def test_an_edited_configuration_is_one_line(entry: str, export: Path, tmp_path: Path) -> None:
    value, text = DAMAGE[entry]
    (tmp_path / "model.safetensors").symlink_to(export / "model.safetensors")
    config = json.loads((export / "config.json").read_text())
    *path, last = entry.split(".")
    place = config
    for key in path:
        place = place[key]
    place[last] = value
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=text) as error:
        load_backbone(str(tmp_path))
    assert "\n" not in str(error.value)


def test_half_an_export_is_one_line(export: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no config\.json; for weights .* name their file"):
        load_backbone(str(tmp_path))
    (tmp_path / "config.json").write_text((export / "config.json").read_text())
    with pytest.raises(FileNotFoundError, match=r"no whole export: it has no model\.safetensors"):
        load_backbone(str(tmp_path))
    for content in ("{", "", "[]", "null"):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(ValueError, match=r"config\.json"):
            load_backbone(str(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("command", ["evaluate", "finetune"])
def test_commands_answer_a_file_that_does_not_match_in_one_line(
    command: str, tmp_path: Path
) -> None:
    path = tmp_path / "net.pth"
    weights = network("convnext_atto").state_dict()
    torch.save({k: v for k, v in weights.items() if "stages.3.blocks.1.mlp" not in k}, path)
    arguments = {
        "evaluate": [str(path), "scenes"],
        "finetune": [f"--model.backbone={path}", f"--run_dir={tmp_path / 'run'}"],
    }[command]
    done = run(f"tools/{command}.py", *arguments)
    assert done.status == 1
    assert "Traceback" not in done.err
    assert "net.pth lacks" in done.err.splitlines()[-1]
