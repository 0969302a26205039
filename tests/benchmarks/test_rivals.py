from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch

from benchmarks.rivals.compare import ROWS, picture, table
from benchmarks.rivals.methods import Rival
from benchmarks.rivals.train import METHODS, train
from cmid.data import MILLION_AID
from cmid.methods import CMID
from cmid.models import MaskedEncoder
from cmid.views import DeviceViews, ViewColours


@pytest.mark.parametrize("name", METHODS)
def test_gradients_reach_the_encoder_and_no_teacher(name: str) -> None:
    encoder = MaskedEncoder("resnet18", img_size=32)
    rival = Rival(name, encoder=encoder, views=DeviceViews(ViewColours(), MILLION_AID)).train()
    first, second = torch.randn(4, 3, 32, 32), torch.randn(4, 3, 32, 32)
    if name == "mocov2":  # an empty queue holds random keys; one call fills it
        rival.method((first, second), 0)
    loss = rival.method((first, second), 2)
    loss.backward()
    assert torch.isfinite(loss)
    assert encoder.backbone.conv1.weight.grad.abs().sum() > 0
    teachers = [p for n, p in rival.method.named_parameters() if n.startswith("teacher")]
    assert all(p.grad is None for p in teachers)
    assert bool(teachers) == (name != "simclr")


@pytest.mark.parametrize("name", METHODS)
def test_running_statistics_follow_the_images(name: str) -> None:
    # The command takes the encoder from a CMID, whose student keeps its statistics still.
    model = CMID("resnet18", img_size=32, queue_size=16, num_prototypes=8, num_matches=1)
    rival = Rival(name, encoder=model.student.encoder, views=model.views).train()
    views = 5 + torch.randn(4, 3, 32, 32), 5 + torch.randn(4, 3, 32, 32)
    mean = model.student.encoder.backbone.bn1.running_mean
    passes = []
    model.student.encoder.backbone.bn1.register_forward_pre_hook(
        lambda module, args: passes.append(args[0].mean(dim=(0, 2, 3)))
    )
    assert not mean.any()
    rival.method(views, 0)
    torch.testing.assert_close(mean, 0.1 * passes[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["simclr", "dino"])
def test_a_run_exports_a_backbone(name: str, root: Path, tmp_path: Path) -> None:
    config = root / "configs/pretrain/cmid_resnet18_scenes.yaml"
    options = ["--run_dir", str(tmp_path / "run"), "--trainer.max_epochs", "1"]
    options += ["--trainer.limit_train_batches", "2", "--data.batch_size", "8"]
    options += ["--data.num_workers", "0", "--trainer.accelerator", "cpu"]
    folder = train(name, ["--config", str(config), *options])
    model = timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert model(torch.randn(1, 3, 64, 64)).shape == (1, 256)


def test_table_and_picture_of_a_comparison() -> None:
    rows = {name: {"knn": (0.1 * i, 0.0), "roads": (0.5, 0.01)} for i, name in enumerate(ROWS)}
    lines = table(rows).splitlines()
    assert len(lines) == 2 + len(ROWS) == 15
    assert lines[-1].startswith("| DINO | **1.200**")
    assert "0.500 ± 0.010" in lines[2]
    assert len(picture(rows).axes) == 2
