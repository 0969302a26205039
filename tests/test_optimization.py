"""Every module that trains gets its optimizer by the same rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from benchmarks.baselines import BYOL
from benchmarks.classification.module import FineTuning
from cmid.methods import CMID
from cmid.optimization import OptimizerConfig, accept_more_parameters, build_optimizer
from cmid.schedule import WarmupCosine
from cmid.vision_language.clip.config import CLIPConfig
from cmid.vision_language.farslip.module import FarSLIP

PARAMETERS = OptimizerConfig(
    name="adamw", base_lr=0.256, betas=(0.7, 0.8), eps=1e-5, weight_decay=0.3, warmup_epochs=2
)
SMALL: dict[str, Any] = {"channels": [8, 16, 24, 32]}


class Four(L.LightningDataModule):
    """Three steps of batches of four, whatever is in them."""

    batch_size = 4

    def train_dataloader(self) -> Any:
        return DataLoader([0] * 12, batch_size=4)  # type: ignore[arg-type]


def cmid() -> L.LightningModule:
    return CMID(
        "resnet18",
        img_size=32,
        backbone_args=SMALL,
        queue_size=8,
        num_prototypes=8,
        num_matches=1,
        optimizer=PARAMETERS,
    )


def baseline() -> L.LightningModule:
    return BYOL("resnet18", img_size=32, backbone_args=SMALL, optimizer=PARAMETERS)


def fine_tuning() -> L.LightningModule:
    return FineTuning("random:resnet18", classes="ab", img_size=32, optimizer=PARAMETERS)


@pytest.fixture(params=["cmid", "baseline", "fine_tuning", "farslip"])
def module(request: pytest.FixtureRequest, tiny_clip: str) -> L.LightningModule:
    makers: dict[str, Callable[[], L.LightningModule]] = {
        "cmid": cmid,
        "baseline": baseline,
        "fine_tuning": fine_tuning,
        "farslip": lambda: FarSLIP(CLIPConfig(tiny_clip), optimizer=PARAMETERS),
    }
    return makers[request.param]()


def configured(module: L.LightningModule, trainer: L.Trainer) -> Any:
    """Optimizer and schedule as a trainer with `Four` would get them."""
    data = Four()
    trainer.datamodule = data  # type: ignore[attr-defined]
    trainer.strategy.connect(module)
    trainer._data_connector.attach_data(module, datamodule=data)
    module.trainer = trainer
    return module.configure_optimizers()


def test_every_module_counts_processes_and_accumulation_and_passes_all_settings(
    module: L.LightningModule,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(L.Trainer, "world_size", property(lambda trainer: 8))
    trainer = L.Trainer(
        max_epochs=4,
        accumulate_grad_batches=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    made = configured(module, trainer)
    schedule = made["lr_scheduler"]["scheduler"]
    highest = 0.256 * 4 * 8 * 2 / 256
    assert isinstance(schedule, WarmupCosine)
    assert schedule.highest == pytest.approx(highest)
    assert f"learning rate {highest:g} = base_lr 0.256 * global batch 64 / 256" in (
        capsys.readouterr().out
    )
    # Three batches make two steps, the second one of a single batch.
    assert (schedule.warmup, schedule.total) == (4, 8)
    for group in made["optimizer"].param_groups:
        assert group["eps"] == 1e-5
        assert group["betas"] == (0.7, 0.8)
        assert group["weight_decay"] in (0.0, 0.3)
        assert group["lr"] == pytest.approx(0.01 * highest * group.get("lr_scale", 1.0))
    held = {id(p) for group in made["optimizer"].param_groups for p in group["params"]}
    assert held == {id(p) for p in module.parameters() if p.requires_grad}


def test_warm_up_in_steps_reaches_the_schedule(tmp_path: Path) -> None:
    module = FineTuning(
        "random:resnet18",
        classes="ab",
        img_size=32,
        optimizer=replace(PARAMETERS, warmup_steps=3),
    )
    trainer = L.Trainer(
        max_epochs=4, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    made = configured(module, trainer)
    assert made["lr_scheduler"]["scheduler"].warmup == 3


def test_groups_get_the_rate_that_their_scale_says() -> None:
    layer = nn.Linear(2, 2)
    groups = [{"params": [layer.weight], "lr_scale": 0.1}, {"params": [layer.bias]}]
    optimizer = build_optimizer(groups, PARAMETERS, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.05, 0.5])


def test_state_of_parameters_that_are_frozen_now_is_left_behind() -> None:
    module = nn.ModuleDict({name: nn.Linear(3, 3) for name in ("kept", "left", "last")})
    before = build_optimizer(module, PARAMETERS, 0.1)
    for number, parameter in enumerate(module.parameters()):
        parameter.grad = torch.full_like(parameter, number + 1.0)
    before.step()
    expected = {name: before.state[p]["exp_avg"] for name, p in module.named_parameters()}
    left_out = list(module["left"].parameters())
    for parameter in left_out:
        parameter.requires_grad_(False)
    after = build_optimizer(module, PARAMETERS, 0.1)
    accept_more_parameters(after, module, left_out)
    after.load_state_dict(before.state_dict())
    assert len(after.state) == 4
    for name, parameter in module.named_parameters():
        if not name.startswith("left"):
            assert torch.equal(after.state[parameter]["exp_avg"], expected[name])
    again = build_optimizer(module, PARAMETERS, 0.1)
    accept_more_parameters(again, module, left_out)
    again.load_state_dict(after.state_dict())
    assert len(again.state) == 4


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_fused_step_on_clipped_gradients_is_that_of_the_plain_one(
    tmp_path: Path, precision: Any
) -> None:
    class Clipped(L.LightningModule):
        def __init__(self, optimizer: Callable[[nn.Module], torch.optim.Optimizer]) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layer, self.built = nn.Linear(3, 3), optimizer

        def training_step(self, batch: Any) -> torch.Tensor:
            return 100 * self.layer(torch.ones(4, 3)).square().mean()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return self.built(self.layer)

    def ours(layer: nn.Module) -> torch.optim.Optimizer:
        built = build_optimizer(layer, PARAMETERS, 0.1)
        assert built.defaults["fused"]
        return built

    def plain(layer: nn.Module) -> torch.optim.Optimizer:
        groups: list[dict[str, Any]] = [
            {"params": [layer.get_parameter("bias")], "weight_decay": 0.0},
            {"params": [layer.get_parameter("weight")]},
        ]
        return torch.optim.AdamW(groups, 0.1, (0.7, 0.8), 1e-5, 0.3, fused=False)

    trained = []
    for made in (ours, plain):
        module = Clipped(made)
        trainer = L.Trainer(
            max_epochs=2,
            accelerator="cpu",
            precision=precision,
            gradient_clip_val=0.5,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
        )
        trainer.fit(module, DataLoader([0] * 12, batch_size=4))  # type: ignore[arg-type]
        trained.append(module.layer)
    torch.testing.assert_close(trained[0].weight, trained[1].weight, rtol=0, atol=1e-6)
    torch.testing.assert_close(trained[0].bias, trained[1].bias, rtol=0, atol=1e-6)
