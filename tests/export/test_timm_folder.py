"""What is exported is what was trained, for timm and for us."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import ModelCard
from timm.data import resolve_data_config

from cmid.checkpoints import identify
from cmid.export import to_timm
from cmid.models import MaskedEncoder

EXPORT = Path(__file__).parents[2] / "tools" / "export.py"

FAMILIES = {
    "resnet": ("resnet18", {}),
    "convnext": ("convnext_atto", {"drop_path_rate": 0.1}),
    "swin": ("swin_tiny_patch4_window7_224", {"depths": (1, 1, 2, 1)}),
    "swinv2": ("swinv2_tiny_window8_256", {"depths": (1, 1, 2, 1)}),
    "vit": ("vit_tiny_patch16_224", {"depth": 3}),
    "deit": ("deit_tiny_patch16_224", {"depth": 3}),
    "vit_registers": (
        "vit_tiny_patch16_224",
        {"depth": 3, "class_token": False, "reg_tokens": 2},
    ),
}
STATISTICS = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "low": [0, 0, 0], "high": [9, 9, 9]}


def _encoder(name: str, kwargs: dict, *, in_chans: int = 3) -> MaskedEncoder:
    """An encoder at 64 pixels whose every number differs from its initial value."""
    torch.manual_seed(0)
    encoder = MaskedEncoder(name, img_size=64, in_chans=in_chans, **kwargs).eval()
    with torch.no_grad():
        for tensor in encoder.backbone.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.05 * torch.rand_like(tensor))
    return encoder


def _images(channels: int = 3, size: int = 64) -> torch.Tensor:
    return torch.rand(2, channels, size, size, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module", params=FAMILIES)
def exported(request, tmp_path_factory) -> tuple[MaskedEncoder, str]:
    encoder = _encoder(*FAMILIES[request.param])
    folder = to_timm(
        encoder, tmp_path_factory.mktemp("export") / request.param, statistics=STATISTICS
    )
    return encoder, f"local-dir:{folder}"


def _checkpoint(encoder: MaskedEncoder, path: Path, **changes) -> Path:
    """A checkpoint as Lightning and ``CMID.on_save_checkpoint`` write it; the teacher is zero."""
    weights = encoder.backbone.state_dict()
    student = {f"student.encoder.backbone.{k}": v for k, v in weights.items()}
    teacher = {f"teacher.module.encoder.backbone.{k}": 0 * v for k, v in weights.items()}
    entry = {
        "version": "0.0.1",
        "model_name": encoder.name,
        "in_chans": encoder.in_chans,
        "img_size": encoder.img_size,
        "model_kwargs": dict(encoder.model_args),
        "global_step": 7,
        "epoch": 2,
        **STATISTICS,
    }
    checkpoint = {"state_dict": student | teacher, "cmid": entry, "hyper_parameters": {"a": 1}}
    torch.save(checkpoint | changes, path)
    return path


@torch.no_grad()
def test_timm_loads_the_same_features(exported):
    encoder, name = exported
    model = timm.create_model(name, pretrained=True).eval()
    assert torch.equal(model(_images()), encoder.pooled(_images()))
    assert model.state_dict().keys() == encoder.backbone.state_dict().keys()
    assert torch.equal(
        model.forward_features(_images()), encoder.backbone.forward_features(_images())
    )


@torch.no_grad()
def test_timm_pools_the_dense_output(exported):
    encoder, name = exported
    model = timm.create_model(name, pretrained=True).eval()
    torch.testing.assert_close(model(_images()), encoder.pool(encoder(_images())))


@torch.no_grad()
def test_features_only(exported):
    encoder, name = exported
    maps = timm.create_model(name, pretrained=True, features_only=True).eval()(_images())
    reference = encoder.backbone.forward_intermediates(_images(), intermediates_only=True)
    last = maps[-1] if maps[-1].shape[1] == encoder.embed_dim else maps[-1].permute(0, 3, 1, 2)
    torch.testing.assert_close(last, reference[-1])


@torch.no_grad()
def test_a_new_classifier(exported):
    encoder, name = exported
    model = timm.create_model(name, pretrained=True, num_classes=10).eval()
    assert model(_images()).shape == (2, 10)
    model.reset_classifier(0)
    assert torch.equal(model(_images()), encoder.pooled(_images()))


@torch.no_grad()
def test_other_channels_than_at_training(exported):
    """timm adapts the first convolution: grey images see the sum of its three channels."""
    encoder, name = exported
    model = timm.create_model(name, pretrained=True, in_chans=1).eval()
    grey = _images(1)
    torch.testing.assert_close(
        model(grey), encoder.pooled(grey.expand(-1, 3, -1, -1)), rtol=1e-3, atol=1e-3
    )
    assert timm.create_model(name, pretrained=True, in_chans=5)(_images(5)).shape[0] == 2


@torch.no_grad()
def test_other_image_sizes_than_at_training(exported):
    encoder, name = exported
    model = timm.create_model(name, pretrained=True).eval()
    assert torch.equal(model(_images(size=96)), encoder.pooled(_images(size=96)))
    if "img_size" in encoder.model_args:
        larger = timm.create_model(name, pretrained=True, img_size=96).eval()
        assert larger(_images(size=96)).isfinite().all()


def test_the_config_says_how_to_normalise(exported):
    _, name = exported
    data = resolve_data_config({}, model=timm.create_model(name, pretrained=True))
    assert data["input_size"] == (3, 64, 64)
    assert (list(data["mean"]), list(data["std"])) == (STATISTICS["mean"], STATISTICS["std"])
    assert (data["interpolation"], data["crop_pct"]) == ("bicubic", 1.0)
    config = json.loads((Path(name.removeprefix("local-dir:")) / "config.json").read_text())
    assert config["cmid"]["high"] == STATISTICS["high"]
    assert "drop_path_rate" not in config["model_args"]
    assert "/" not in json.dumps(config["model_args"])


@torch.no_grad()
def test_we_load_it_again(exported):
    encoder, name = exported
    again = identify(name).build().eval()
    assert torch.equal(again(_images()), encoder(_images()))
    assert again.img_size == encoder.img_size


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("vit_base_patch16_reg4_gap_256", {"depth": 1, "embed_dim": 96}),
        ("swinv2_tiny_window8_256", {"depths": (1, 1, 1, 1), "embed_dim": 24}),
        ("swin_base_patch4_window12_384", {"depths": (1, 1, 1, 1), "embed_dim": 32}),
    ],
)
@torch.no_grad()
def test_a_default_size_other_than_224(name, kwargs, tmp_path):
    encoder = MaskedEncoder(name, **kwargs).eval()
    folder = to_timm(encoder, tmp_path / "out")
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    images = _images(size=encoder.img_size)
    assert encoder.img_size > 224
    assert torch.equal(model(images), encoder.pooled(images))


@pytest.mark.parametrize("channels", [1, 6])
@torch.no_grad()
def test_an_encoder_of_other_channels(channels, tmp_path):
    encoder = _encoder("resnet18", {}, in_chans=channels)
    statistics = {"mean": [0.5] * channels, "std": [0.2] * channels}
    to_timm(encoder, tmp_path / "out", statistics=statistics)
    model = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    assert torch.equal(model(_images(channels)), encoder.pooled(_images(channels)))
    rgb = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True, in_chans=3)
    assert rgb(_images()).shape == (2, 512)


def test_statistics_of_other_channels_are_refused(tmp_path):
    with pytest.raises(ValueError, match="3 values of mean for 6 channels"):
        to_timm(_encoder("resnet18", {}, in_chans=6), tmp_path / "out", statistics=STATISTICS)
    assert list(tmp_path.iterdir()) == []


@torch.no_grad()
def test_channels_last_weights(tmp_path):
    encoder = _encoder("resnet18", {})
    expected = encoder.pooled(_images())
    to_timm(encoder.to(memory_format=torch.channels_last), tmp_path / "out")
    model = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    torch.testing.assert_close(model(_images()), expected)


@pytest.mark.parametrize("family", ["resnet", "swin", "vit_registers"])
@torch.no_grad()
def test_a_checkpoint(family, tmp_path):
    encoder = _encoder(*FAMILIES[family])
    path = _checkpoint(encoder, tmp_path / "last.ckpt")
    to_timm(path, tmp_path / "out", provenance={"dataset": "scenes"})
    model = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    assert torch.equal(model(_images()), encoder.pooled(_images()))
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["pretrained_cfg"]["mean"] == STATISTICS["mean"]
    origin = config["cmid"]
    assert (origin["version"], origin["global_step"], origin["epoch"]) == ("0.0.1", 7, 2)
    assert (origin["which"], origin["dataset"]) == ("student", "scenes")

    to_timm(path, tmp_path / "out", which="teacher", overwrite=True)
    teacher = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True)
    assert all(p.count_nonzero() == 0 for p in teacher.parameters())


def test_an_existing_folder_is_kept(tmp_path):
    encoder = _encoder("resnet18", {})
    to_timm(encoder, tmp_path / "out")
    with pytest.raises(FileExistsError, match="exists; replace it with --overwrite"):
        to_timm(encoder, tmp_path / "out")
    to_timm(encoder, tmp_path / "out", overwrite=True)
    (tmp_path / "out" / "thesis.tex").write_text("precious")
    with pytest.raises(FileExistsError, match="would delete other files"):
        to_timm(encoder, tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "thesis.tex").read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_card_says_what_it_is_and_keeps_what_was_written_in_it(tmp_path, caplog):
    path = _checkpoint(_encoder("resnet18", {}), tmp_path / "last.ckpt")
    card = to_timm(path, tmp_path / "out") / "README.md"
    text = card.read_text()
    about = ModelCard.load(card).data
    assert (about.library_name, about.pipeline_tag) == ("timm", "image-feature-extraction")
    assert "| architecture | resnet18, 11.2 M parameters |" in text
    assert "| images | 3 bands; 64 x 64 pixels in training |" in text
    assert "| 2 | 0 | 9 | 0.2 | 0.5 |" in text
    card.write_text(text + "Licence: CC BY 4.0\n")
    to_timm(path, tmp_path / "out", overwrite=True)
    assert card.read_text().endswith("Licence: CC BY 4.0\n")
    assert "README.md was edited and stays" in caplog.text

    card.write_text(text)
    other = {"mean": [0.5] * 6, "std": [0.5] * 6}
    encoder = _encoder("resnet18", {}, in_chans=6)
    said = {"weights": {"masked": 2.0, "local": "as published"}}
    to_timm(encoder, tmp_path / "out", statistics=other, provenance=said, overwrite=True)
    assert "| weights of losses | masked 2, local as published |" in card.read_text()
    assert "| images | 6 bands; 64 x 64 pixels in training |" in card.read_text()


def test_a_failure_leaves_nothing_behind(tmp_path):
    with pytest.raises(TypeError):
        to_timm(_encoder("resnet18", {}), tmp_path / "out", provenance={"model": object()})
    assert list(tmp_path.iterdir()) == []


def test_a_named_stem_is_remembered(tmp_path):
    encoder = MaskedEncoder("dla46x_c", stem="level1", img_size=64)
    folder = to_timm(encoder, tmp_path / "out")
    assert identify(str(folder)).build().stem_name == "level1"


def test_damaged_weights_are_noticed(tmp_path):
    folder = to_timm(_encoder("resnet18", {}), tmp_path / "out")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(ValueError, match="damaged"):
        identify(str(folder)).build()


def test_what_is_no_checkpoint_is_named(tmp_path):
    encoder = _encoder("resnet18", {})
    path = _checkpoint(encoder, tmp_path / "last.ckpt")
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"hello"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"last\.ckpt is not a checkpoint, or is truncated"):
            to_timm(path, tmp_path / "out")
    with pytest.raises(FileNotFoundError, match=r"no checkpoint .*absent\.ckpt"):
        to_timm(tmp_path / "absent.ckpt", tmp_path / "out")
    torch.save({"state_dict": {}}, path)
    with pytest.raises(ValueError, match="no entry 'cmid'"):
        to_timm(path, tmp_path / "out")


def test_missing_weights_are_listed(tmp_path):
    encoder = _encoder("resnet18", {})
    prefix = "student.encoder.backbone."
    weights = {prefix + k: v for k, v in encoder.backbone.state_dict().items()}
    few = {k: v for k, v in weights.items() if "layer1" not in k}
    path = _checkpoint(encoder, tmp_path / "last.ckpt", state_dict=few)
    with pytest.raises(ValueError, match=r"24 weights missing, first layer1\.0\.conv1\.weight, "):
        to_timm(path, tmp_path / "out")
    odd = weights | {prefix + "conv1.weight": torch.zeros(64, 4, 7, 7)}
    path = _checkpoint(encoder, tmp_path / "last.ckpt", state_dict=odd)
    with pytest.raises(ValueError, match=r"1 weights of another shape, first conv1\.weight"):
        to_timm(path, tmp_path / "out")


def test_the_command(tmp_path, capsys):
    main = runpy.run_path(str(EXPORT))["main"]
    path = _checkpoint(_encoder("resnet18", {}), tmp_path / "last.ckpt")
    command = [str(path), str(tmp_path / "out"), "--format", "timm"]
    main(command)
    namespace = {"timm": timm}
    exec(capsys.readouterr().out, namespace)  # it prints the line that loads the result
    assert namespace["model"].num_features == 512
    with pytest.raises(SystemExit, match=r"^error: .*out exists; replace it with --overwrite"):
        main(command)
    main([*command, "--overwrite", "--which", "student"])
    with pytest.raises(SystemExit, match=r"^error: no checkpoint "):
        main([str(tmp_path / "absent"), str(tmp_path / "other")])
