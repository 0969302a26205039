"""Exports of the Hugging Face hub, read from a cache as a download leaves it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants

from cmid.checkpoints import identify, load_backbone
from cmid.export import to_timm
from cmid.models import MaskedEncoder

COMMIT = "0123456789abcdef0123456789abcdef01234567"
STATISTICS = {"mean": [0.1] * 4, "std": [0.5] * 4, "low": [0.0] * 4, "high": [1000.0] * 4}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; the hub itself is out of reach."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    encoder = MaskedEncoder("resnet18", in_chans=4, img_size=64, output_stride=8, layers=[1] * 4)
    return to_timm(encoder, tmp_path_factory.mktemp("hub") / "export", statistics=STATISTICS)


def _download(export: Path, hub: Path, name: str, *, revision: str = "main") -> Path:
    """Put a folder where `snapshot_download` puts one; return its place."""
    repository = hub / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / revision).write_text(COMMIT)
    return Path(shutil.copytree(export, repository / "snapshots" / COMMIT))


def test_an_upload_is_the_export(export: Path, hub: Path) -> None:
    _download(export, hub, "someone/rs-resnet18")
    backbone = load_backbone("hf-hub:someone/rs-resnet18")
    assert backbone.digest == load_backbone(str(export)).digest
    assert backbone.name == "hf-hub:someone/rs-resnet18"
    assert backbone.standardize.statistics.high == (1000.0,) * 4
    untrained = load_backbone("random:hf-hub:someone/rs-resnet18", seed=1)
    assert untrained.encoder.model_args == backbone.encoder.model_args
    assert untrained.digest != backbone.digest


def test_timm_loads_it_by_the_same_name(export: Path, hub: Path) -> None:
    _download(export, hub, "someone/rs-resnet18")
    images = torch.rand(1, 4, 64, 64)
    models = [
        timm.create_model(name, pretrained=True).eval()
        for name in ("hf-hub:someone/rs-resnet18", f"local-dir:{export}")
    ]
    with torch.no_grad():
        assert torch.equal(models[0](images), models[1](images))


def test_a_revision(export: Path, hub: Path) -> None:
    _download(export, hub, "someone/rs-resnet18", revision="v2")
    assert identify("hf-hub:someone/rs-resnet18@v2").model_args["output_stride"] == 8
    with pytest.raises(FileNotFoundError, match=r"^hf-hub:someone/rs-resnet18 is not on this"):
        identify("hf-hub:someone/rs-resnet18")


@pytest.mark.parametrize("name", ["resnet18", "a/b/c", "a b/c"])
def test_what_is_no_name_of_the_hub(hub: Path, name: str) -> None:
    with pytest.raises(ValueError, match=f"^hf-hub:{name}"):
        identify(f"hf-hub:{name}")


def test_other_models_of_the_hub_are_refused(export: Path, hub: Path) -> None:
    folder = _download(export, hub, "timm/resnet18")
    config = json.loads((folder / "config.json").read_text())
    del config["cmid"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"^hf-hub:timm/resnet18: .*by their names alone$"):
        identify("hf-hub:timm/resnet18")
    (folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"^hf-hub:timm/resnet18: .*no config\.json"):
        identify("hf-hub:timm/resnet18")
