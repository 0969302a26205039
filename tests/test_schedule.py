"""The rate that is printed is the rate that is used, at every step of every kind of run."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR
from torch.utils.data import DataLoader, TensorDataset

from cmid.models import ema_momentum
from cmid.optimization import (
    OptimizerConfig,
    build_optimizer,
    configure_training,
    teacher_momentum,
)
from cmid.schedule import RunLength, WarmupCosine

ADAMW = OptimizerConfig(name="adamw", base_lr=0.64, warmup_epochs=1, warmup_factor=0.1, min_lr=1e-3)


def schedule_of(optimizer: torch.optim.Optimizer, parameters: OptimizerConfig) -> WarmupCosine:
    """Twelve steps, three an epoch."""
    return WarmupCosine(
        optimizer,
        warmup_epochs=parameters.warmup_epochs,
        warmup_steps=parameters.warmup_steps,
        warmup_factor=parameters.warmup_factor,
        min_lr=parameters.min_lr,
        length=RunLength(3, max_steps=12),
    )


def test_a_warm_up_may_be_counted_in_steps() -> None:
    rates = []
    for changes in ({"warmup_epochs": 5 / 3}, {"warmup_steps": 5}, {"warmup_steps": 0}):
        parameters = replace(ADAMW, **changes)  # type: ignore[arg-type]
        schedule = schedule_of(build_optimizer(nn.Linear(2, 2), parameters, 0.64), parameters)
        rates.append([schedule.factor(step) for step in range(13)])
        assert schedule.warmup == changes.get("warmup_steps", 5)
    assert rates[0] == rates[1]
    assert rates[1][0] == 0.1
    assert rates[1][5] == rates[2][0] == 1
    with pytest.raises(ValueError, match=r"optimizer.warmup_steps -1: give 0 or more"):
        OptimizerConfig(warmup_steps=-1)


class Line(L.LightningModule):
    """A linear layer that notes the rate, the decay and the momentum of each step."""

    def __init__(self, parameters: OptimizerConfig = ADAMW) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)
        self.parameters_of_optimizer = parameters
        self.rates: list[float] = []
        self.momenta: list[float] = []
        self.printed: list[str] = []

    def print(self, *args: Any, **kwargs: Any) -> None:
        self.printed.append(" ".join(map(str, args)))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return self.layer(batch[0]).square().mean()

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        self.rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        self.momenta.append(teacher_momentum(self, 0.9))
        super().optimizer_step(*args, **kwargs)

    def configure_optimizers(self) -> Any:
        return configure_training(self, self.parameters_of_optimizer)

    def highest(self) -> float:
        """The rate that was printed."""
        return float(re.findall(r"^learning rate (\S+) =", self.printed[0])[0])


class Batches(L.LightningDataModule):
    def __init__(self, images: int, batch_size: int) -> None:
        super().__init__()
        self.images, self.batch_size = images, batch_size

    def train_dataloader(self) -> Any:
        return DataLoader(TensorDataset(torch.ones(self.images, 4)), batch_size=self.batch_size)


def train(
    folder: Path,
    *,
    images: int = 28,
    batch_size: int = 4,
    parameters: OptimizerConfig = ADAMW,
    resume: Path | None = None,
    **trainer: Any,
) -> Line:
    """Seven batches an epoch; the checkpoint of step N is ``folder/step=N.ckpt``."""
    module = Line(parameters)
    keep = L.pytorch.callbacks.ModelCheckpoint(
        folder, "{step}", every_n_train_steps=1, save_top_k=-1
    )
    run = L.Trainer(
        accelerator="cpu",
        logger=False,
        callbacks=[keep],
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **trainer,
    )
    run.fit(module, Batches(images, batch_size), ckpt_path=resume, weights_only=True)
    return module


def expected(step: int, *, highest: float, warmup: int, total: int) -> float:
    """The published schedule, written anew."""
    if step < warmup:
        return highest * (0.1 + 0.9 * step / warmup)
    progress = (step - warmup) / (total - warmup)
    return 1e-3 + (highest - 1e-3) * (1 + math.cos(math.pi * progress)) / 2


COMBINATIONS: list[tuple[dict[str, Any], int, int]] = [
    # options of the trainer, steps per epoch, steps in all
    ({"max_epochs": 3}, 7, 21),
    ({"max_steps": 10}, 7, 10),
    ({"max_epochs": -1, "max_steps": 10}, 7, 10),
    ({"max_epochs": 200, "max_steps": 10}, 7, 10),
    ({"max_epochs": 1, "max_steps": 10}, 7, 7),
    ({"max_epochs": 3, "accumulate_grad_batches": 2}, 4, 12),  # the last step holds one batch
    ({"max_epochs": 3, "accumulate_grad_batches": 9}, 1, 3),
    ({"max_epochs": 50, "max_steps": 9, "accumulate_grad_batches": 3}, 3, 9),
    ({"max_epochs": 3, "limit_train_batches": 5, "accumulate_grad_batches": 2}, 3, 9),
    ({"max_epochs": 4, "limit_train_batches": 0.5}, 3, 12),
    ({"max_epochs": -1, "max_steps": 4, "limit_train_batches": 1}, 1, 4),
    ({"max_epochs": 1, "max_steps": 1}, 7, 1),
]


@pytest.mark.parametrize(("options", "per_epoch", "total"), COMBINATIONS)
def test_what_is_printed_is_used_at_every_step(
    options: dict[str, Any], per_epoch: int, total: int, tmp_path: Path
) -> None:
    module = train(tmp_path, **options)
    accumulated = options.get("accumulate_grad_batches", 1)
    highest = 0.64 * 4 * accumulated / 256
    warmup = min(per_epoch, total - 1)
    assert len(module.rates) == total
    assert module.highest() == pytest.approx(highest) == pytest.approx(max(module.rates))
    assert f"warm-up {warmup} of {total} steps" in module.printed[0]
    assert module.rates == pytest.approx(
        [expected(s, highest=highest, warmup=warmup, total=total) for s in range(total)]
    )
    assert module.momenta == pytest.approx([ema_momentum(s, total, 0.9) for s in range(total)])


@pytest.mark.parametrize(
    "options",
    [
        {"max_epochs": 3},
        {"max_epochs": 3, "accumulate_grad_batches": 2},
        {"max_steps": 10},
        {"max_epochs": 30, "max_steps": 9, "accumulate_grad_batches": 3},
    ],
)
def test_a_run_resumed_at_any_step_uses_the_rates_of_the_whole_one(
    options: dict[str, Any], tmp_path: Path
) -> None:
    whole = train(tmp_path / "whole", **options)
    for step in range(1, len(whole.rates)):
        checkpoint = tmp_path / f"whole/step={step}.ckpt"
        rest = train(tmp_path / "rest", resume=checkpoint, **options)
        assert rest.rates == whole.rates[step:]
        assert rest.momenta == whole.momenta[step:]
        assert f"resumed at step {step}, {step} of {len(whole.rates)}" in rest.printed[1]
        assert float(rest.printed[1].split()[-1]) == pytest.approx(rest.rates[0], rel=1e-5)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({"max_epochs": 2}, {"max_epochs": 5}),
        ({"max_steps": 14}, {"max_steps": 35}),
        ({"max_epochs": 2}, {"max_epochs": -1, "max_steps": 35}),
    ],
)
def test_a_finished_run_goes_on_along_the_longer_cosine(
    first: dict[str, Any], then: dict[str, Any], tmp_path: Path
) -> None:
    train(tmp_path, **first)
    more = train(tmp_path / "more", resume=tmp_path / "step=14.ckpt", **then)
    assert more.rates == pytest.approx(
        [expected(s, highest=0.01, warmup=7, total=35) for s in range(14, 35)]
    )
    assert more.momenta == pytest.approx([ema_momentum(s, 35, 0.9) for s in range(14, 35)])


def test_what_the_configuration_says_holds_after_a_resume(tmp_path: Path) -> None:
    before = replace(ADAMW, betas=(0.5, 0.6), eps=1e-3, weight_decay=0.5)
    train(tmp_path, max_epochs=3, parameters=before)
    after = replace(
        ADAMW, base_lr=6.4, betas=(0.8, 0.9), eps=1e-5, weight_decay=0.1, warmup_epochs=0
    )
    module = train(
        tmp_path / "rest", resume=tmp_path / "step=7.ckpt", max_epochs=3, parameters=after
    )
    assert module.highest() == pytest.approx(0.1)
    assert module.rates == pytest.approx(
        [expected(s, highest=0.1, warmup=0, total=21) for s in range(7, 21)]
    )
    for group in module.trainer.optimizers[0].param_groups:
        assert (group["betas"], group["eps"]) == ((0.8, 0.9), 1e-5)
    assert sorted(g["weight_decay"] for g in module.trainer.optimizers[0].param_groups) == [0, 0.1]


@pytest.mark.parametrize(
    ("change", "per_epoch", "highest"),
    [
        ({"batch_size": 2}, 14, 0.005),
        ({"batch_size": 14}, 2, 0.035),
        ({"accumulate_grad_batches": 2}, 4, 0.02),
    ],
)
def test_a_run_resumed_with_another_batch_is_as_far_in_epochs(
    change: dict[str, Any], per_epoch: int, highest: float, tmp_path: Path
) -> None:
    train(tmp_path, max_epochs=4)
    module = train(tmp_path / "rest", resume=tmp_path / "step=14.ckpt", max_epochs=4, **change)
    assert module.highest() == pytest.approx(highest)
    steps = range(2 * per_epoch, 4 * per_epoch)
    assert module.rates == pytest.approx(
        [expected(s, highest=highest, warmup=per_epoch, total=4 * per_epoch) for s in steps]
    )
    # And once more: what was counted with seven steps per epoch stays counted.
    last = 14 + per_epoch
    again = train(
        tmp_path / "again", resume=tmp_path / f"rest/step={last}.ckpt", max_epochs=4, **change
    )
    assert again.rates == module.rates[per_epoch:]


@pytest.mark.parametrize("steps", [(14, 21), (14, 18), (13, 21), (13, 18), (7, 14)])
def test_a_run_resumed_twice_ends_where_the_whole_one_does(
    steps: tuple[int, int], tmp_path: Path
) -> None:
    whole = train(tmp_path, max_epochs=4)
    first, second = steps
    once = train(tmp_path / "1", resume=tmp_path / f"step={first}.ckpt", max_epochs=4)
    twice = train(tmp_path / "2", resume=tmp_path / f"1/step={second}.ckpt", max_epochs=4)
    assert once.rates == whole.rates[first:]
    assert twice.rates == whole.rates[second:]


def test_a_run_that_steps_ended_amid_an_epoch_goes_on_there(tmp_path: Path) -> None:
    stopped = train(tmp_path, max_steps=10).trainer
    stopped.save_checkpoint(tmp_path / "end.ckpt")
    rest = train(tmp_path / "rest", resume=tmp_path / "end.ckpt", max_epochs=4)
    assert rest.trainer.global_step == 28
    assert rest.rates == pytest.approx(
        [expected(s, highest=0.01, warmup=7, total=28) for s in range(10, 28)]
    )


def test_where_steps_end_the_run_another_batch_changes_the_rate_alone(tmp_path: Path) -> None:
    train(tmp_path, max_steps=12)
    rest = train(tmp_path / "rest", resume=tmp_path / "step=9.ckpt", max_steps=12, batch_size=2)
    assert rest.rates == pytest.approx(
        [expected(s, highest=0.005, warmup=11, total=12) for s in range(9, 12)]
    )


@pytest.mark.parametrize("name", ["adan", "adamw", "sgd", "lars", "lamb"])
def test_old_checkpoints_with_chained_schedules_resume(name: str, tmp_path: Path) -> None:
    parameters = replace(ADAMW, name=name)
    whole = train(tmp_path, max_epochs=3, parameters=parameters)
    path = tmp_path / "step=9.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=5.0)
    chain = SequentialLR(
        optimizer,
        [LinearLR(optimizer, 0.5, total_iters=3), CosineAnnealingLR(optimizer, 8)],
        [3],
    )
    for _ in range(9):
        optimizer.step()
        chain.step()
    checkpoint["lr_schedulers"] = [chain.state_dict()]
    for group in checkpoint["optimizer_states"][0]["param_groups"]:
        group["lr"] = group["initial_lr"] = 5.0
    torch.save(checkpoint, path)
    rest = train(tmp_path / "rest", resume=path, max_epochs=3, parameters=parameters)
    assert rest.rates == whole.rates[9:]


def test_a_run_without_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"max_epochs or trainer\.max_steps"):
        train(tmp_path, max_epochs=-1)


def test_groups_keep_their_ratio_to_the_end() -> None:
    layers = [nn.Linear(2, 2), nn.Linear(2, 2)]
    groups = [
        {"params": list(layer.parameters()), "lr_scale": scale}
        for layer, scale in zip(layers, (1.0, 0.25), strict=True)
    ]
    optimizer = build_optimizer(groups, ADAMW, 0.1)
    schedule = schedule_of(optimizer, ADAMW)
    for _ in range(15):
        high, low = (group["lr"] for group in optimizer.param_groups)
        assert low == pytest.approx(high / 4)
        optimizer.step()
        schedule.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-3)


def test_a_rate_below_min_lr_does_not_rise() -> None:
    parameters = replace(ADAMW, warmup_epochs=0)
    optimizer = build_optimizer(nn.Linear(2, 2), parameters, 1e-4)
    schedule = schedule_of(optimizer, parameters)
    for _ in range(12):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-4)
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize(("epochs", "steps"), [(3, None), (None, 9), (3, 9)])
def test_the_limit_that_comes_first_is_the_length(epochs: int | None, steps: int | None) -> None:
    length = RunLength(5, max_epochs=epochs, max_steps=steps)
    assert length.ended_by_steps(0) == (steps is not None)
    assert length.ended_by_steps(-10) == (epochs is None)
