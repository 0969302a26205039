"""Optimizer and learning-rate schedule, from timm and torch, with one rule for the rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from timm.optim import create_optimizer_v2
from torch import nn

from cmid.models import ema_momentum
from cmid.processes import leave_group_at_exit
from cmid.schedule import RunLength, WarmupCosine

_FUSED = ("adam", "adamw")  # of torch


@dataclass(frozen=True)
class OptimizerConfig:
    """Optimizer and schedule; the defaults are the published recipe.

    Attributes:
        name: any of timm's optimizers (``adan``, ``adamw``, ``lars``, ``sgd``, ...).
        base_lr: learning rate for a global batch of 256: ``lr = base_lr * global_batch / 256``.
            The published 1e-3 per process of 64 images is 4e-3 here.
        weight_decay: decay of matrices, not of biases, norms and tokens.
        betas, eps: Adam-type coefficients; ``None`` keeps the optimizer's own.
        momentum: momentum of SGD-type optimizers.
        warmup_epochs: linear warm-up from ``warmup_factor * lr``.
        warmup_steps: steps of the warm-up, whatever ``warmup_epochs`` says.
        min_lr: end of the cosine (not scaled with the batch; at most the rate itself). Parameters
            with a lower rate (layer decay) end as much lower.
    """

    name: str = "adan"
    base_lr: float = 4e-3
    weight_decay: float = 0.02
    betas: tuple[float, ...] | None = None
    eps: float | None = None
    momentum: float = 0.9
    warmup_epochs: float = 10
    warmup_factor: float = 0.01
    min_lr: float = 1e-6
    warmup_steps: int | None = None

    def __post_init__(self) -> None:
        if self.warmup_steps is not None and self.warmup_steps < 0:
            raise ValueError(
                f"optimizer.warmup_steps {self.warmup_steps}: give 0 or more, or null to count"
                " warmup_epochs"
            )


def scaled_lr(parameters: OptimizerConfig, global_batch: int) -> float:
    """The one rule: ``lr = base_lr * global_batch / 256``."""
    return parameters.base_lr * global_batch / 256


def build_optimizer(
    trained: nn.Module | Sequence[dict[str, Any]],
    parameters: OptimizerConfig,
    lr: float,
    *,
    layer_decay: float | None = None,
) -> torch.optim.Optimizer:
    """Optimizer over a module's parameters that require gradients, or over parameter groups.

    Args:
        trained: a module, whose biases, norms and tokens get no weight decay; or groups in torch's
            form, where ``lr_scale`` is a factor of the rate.
        lr: highest learning rate.
        layer_decay: factor of the rate per layer from the output down, for timm's models.

    Raises:
        ValueError: the name is not one of timm's.
    """
    given: dict[str, Any] = {} if parameters.betas is None else {"betas": tuple(parameters.betas)}
    if parameters.eps is not None:
        given["eps"] = parameters.eps
    if parameters.name.lower() in _FUSED:
        given["fused"] = True  # one pass over the weights, on a processor 5 times as fast
    try:
        optimizer = create_optimizer_v2(
            trained if isinstance(trained, nn.Module) else list(trained),
            opt=parameters.name,
            lr=lr,
            weight_decay=parameters.weight_decay,
            momentum=parameters.momentum,
            layer_decay=layer_decay,
            **given,
        )
    except ValueError as error:
        raise ValueError(
            f"optimizer '{parameters.name}': {error}; see timm.optim.list_optimizers()"
        ) from error
    for group in optimizer.param_groups:
        group["lr"] *= group.get("lr_scale", 1.0)
    # Scaled gradients are unscaled before, for clipping: not by a fused step itself.
    optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
    return optimizer


def configure_training(
    module: L.LightningModule,
    parameters: OptimizerConfig,
    *,
    trained: nn.Module | Sequence[dict[str, Any]] | None = None,
    layer_decay: float | None = None,
    left_out: Sequence[nn.Parameter] = (),
) -> OptimizerLRScheduler:
    """What ``configure_optimizers`` of a module returns; prints the learning rate's rule.

    Every training starts here, also that of several processes: their group will be ended at exit.
    The batch size is that of the trainer's datamodule, per process.

    Args:
        module: module to train, attached to its trainer.
        trained: part of it, or parameter groups; by default all of it.
        layer_decay: see `build_optimizer`.
        left_out: frozen parameters that checkpoints of other runs may have an optimizer's state of.

    Raises:
        ValueError: unknown optimizer, or a run without end.
    """
    trainer = module.trainer
    leave_group_at_exit()
    batch = trainer.datamodule.batch_size  # type: ignore[attr-defined]
    global_batch = batch * trainer.world_size * trainer.accumulate_grad_batches
    lr = scaled_lr(parameters, global_batch)
    optimizer = build_optimizer(
        module if trained is None else trained, parameters, lr, layer_decay=layer_decay
    )
    if left_out:
        accept_more_parameters(optimizer, module if trained is None else trained, left_out)
    schedule = WarmupCosine(
        optimizer,
        warmup_epochs=parameters.warmup_epochs,
        warmup_steps=parameters.warmup_steps,
        warmup_factor=parameters.warmup_factor,
        min_lr=parameters.min_lr,
        length=RunLength.of(trainer),
        trainer=trainer,
    )
    module.print(
        f"learning rate {lr:g} = base_lr {parameters.base_lr:g} * global batch {global_batch} / 256"
        f"; warm-up {schedule.warmup} of {schedule.total} steps,"
        f" then down to {schedule.floor * lr:g}"
    )
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def accept_more_parameters(
    optimizer: torch.optim.Optimizer,
    trained: nn.Module | Sequence[dict[str, Any]],
    left_out: Sequence[nn.Parameter],
) -> None:
    """Let the optimizer load the state of one that also held the parameters left out.

    Args:
        trained: what the optimizer was built of.
        left_out: parameters of ``trained`` that are frozen now.
    """
    for parameter in left_out:
        parameter.requires_grad_(True)
    wider = build_optimizer(trained, OptimizerConfig(name="sgd"), 1.0).param_groups
    for parameter in left_out:
        parameter.requires_grad_(False)
    held = {parameter for group in optimizer.param_groups for parameter in group["params"]}

    def select(_: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any] | None:
        saved = state["param_groups"]
        if [len(group["params"]) for group in saved] != [len(g["params"]) for g in wider]:
            return None
        groups = [
            {
                **old,
                "params": [
                    number
                    for number, parameter in zip(old["params"], group["params"], strict=True)
                    if parameter in held
                ],
            }
            for old, group in zip(saved, wider, strict=True)
        ]
        kept = {number for group in groups for number in group["params"]}
        states = {number: value for number, value in state["state"].items() if number in kept}
        return {**state, "state": states, "param_groups": [g for g in groups if g["params"]]}

    optimizer.register_load_state_dict_pre_hook(select)


def teacher_momentum(module: L.LightningModule, first: float) -> float:
    """Momentum of a moving average at the coming optimizer step; it rises over the schedule."""
    schedule = module.lr_schedulers()
    assert isinstance(schedule, WarmupCosine)
    return ema_momentum(schedule.place(module.global_step), schedule.total, first)


def seed_step(module: L.LightningModule, seed: int) -> None:
    """Make a step's randomness a function of its number, for exact resumption."""
    step = module.trainer.fit_loop.epoch_loop.total_batch_idx
    state = np.random.SeedSequence((seed, module.global_rank, step)).generate_state(1)
    torch.manual_seed(int(state[0]))
