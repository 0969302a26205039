from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cmid.checkpoints import load_backbone
from cmid.export import to_timm
from cmid.models import MaskedEncoder


def test_an_export_comes_back_with_its_weights_and_standardisation(tmp_path: Path) -> None:
    encoder = MaskedEncoder("resnet18", in_chans=4, img_size=64).eval()
    statistics = {"mean": [0.1, 0.2, 0.3, 0.4], "std": [0.5] * 4, "low": [0.0] * 4}
    statistics["high"] = [1000.0, 2000.0, 3000.0, 4000.0]
    folder = to_timm(encoder, tmp_path / "export", statistics=statistics)
    backbone = load_backbone(str(folder))
    images = torch.rand(2, 4, 64, 64) * 1000
    scaled = images / torch.tensor(statistics["high"]).view(4, 1, 1)
    expected = encoder.pooled((scaled - torch.tensor(statistics["mean"]).view(4, 1, 1)) / 0.5)
    got = backbone.encoder.pooled(backbone.standardize(images))
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    assert backbone.size == 64
    assert load_backbone(f"local-dir:{folder}").digest == backbone.digest


def test_untrained_backbones_depend_on_the_seed_alone() -> None:
    state = torch.random.get_rng_state()
    first, again, other = (
        load_backbone("random:resnet18", img_size=64, seed=seed) for seed in (1, 1, 2)
    )
    assert first.digest == again.digest != other.digest
    assert torch.equal(torch.random.get_rng_state(), state)


def test_random_before_an_export_is_its_network_without_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    thin = {"channels": [32, 32, 64, 64], "layers": [1, 1, 1, 1], "output_stride": 8}
    encoder = MaskedEncoder("resnet18", in_chans=4, img_size=64, norm_layer="groupnorm", **thin)
    statistics = {"mean": [0.1, 0.2, 0.3, 0.4], "std": [0.5] * 4}
    folder = to_timm(encoder, tmp_path / "export", statistics=statistics)
    trained = load_backbone(str(folder))
    first, again, other = (load_backbone(f"random:{folder}", seed=seed) for seed in (1, 1, 2))
    assert first.name == f"random:{folder}"
    assert first.encoder.model_args == trained.encoder.model_args
    assert first.standardize.statistics == trained.standardize.statistics
    assert first.size == trained.size == 64
    weights = [b.encoder.backbone.conv1.weight for b in (trained, first, other)]
    assert weights[0].shape == weights[1].shape == weights[2].shape
    assert not any(torch.equal(weights[0], drawn) for drawn in weights[1:])
    assert first.digest == again.digest != other.digest
    monkeypatch.chdir(tmp_path)
    assert load_backbone("random:export", seed=1).digest == first.digest
    Path("resnet18").mkdir()  # a name of timm stays one
    assert load_backbone("random:resnet18", img_size=64).encoder.model_args["in_chans"] == 3


def test_other_channels_repeat_the_moments() -> None:
    backbone = load_backbone("random:resnet18", img_size=32, in_chans=5)
    mean = backbone.standardize.mean.flatten()
    assert torch.equal(mean[3:], mean[:2])


@pytest.mark.parametrize("spec", ["no/such/export", "local-dir:missing", "weights.safetensors"])
@pytest.mark.parametrize("untrained", ["", "random:"])
def test_missing_exports_are_named(spec: str, untrained: str) -> None:
    with pytest.raises(FileNotFoundError, match=spec):
        load_backbone(untrained + spec)


@pytest.mark.parametrize("spec", ["random:resnet19x", "wrong:resnet18"])
def test_unknown_names_are_errors(spec: str) -> None:
    with pytest.raises(ValueError, match=r"resnet"):
        load_backbone(spec)
