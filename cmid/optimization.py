"""Optimizer and learning-rate schedule, from timm and torch, with one rule for the rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import lightning as L
import numpy as np
import torch
from timm.optim import create_optimizer_v2
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR


@dataclass(frozen=True)
class OptimizerParameters:
    """Optimizer and schedule; the defaults are the published recipe.

    Attributes:
        name: any of timm's optimizers (``adan``, ``adamw``, ``lars``, ``sgd``, ...).
        base_lr: learning rate for a global batch of 256: ``lr = base_lr * global_batch / 256``.
            The published 1e-3 per process of 64 images is 4e-3 here.
        weight_decay: on matrices only, not on biases, norms and tokens.
        betas, eps: of the optimizers that take them; ``None`` keeps the optimizer's own.
        momentum: of those that take it.
        warmup_epochs: linear warm-up from ``warmup_factor * lr``.
        min_lr: end of the cosine (not scaled with the batch).
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


def scaled_lr(parameters: OptimizerParameters, global_batch: int) -> float:
    """The one rule: ``lr = base_lr * global_batch / 256``."""
    return parameters.base_lr * global_batch / 256


def build_optimizer(
    module: nn.Module, parameters: OptimizerParameters, lr: float
) -> torch.optim.Optimizer:
    """Optimizer over the parameters of ``module`` that require gradients.

    Raises:
        ValueError: the name is not one of timm's.
    """
    given: dict[str, Any] = {} if parameters.betas is None else {"betas": tuple(parameters.betas)}
    if parameters.eps is not None:
        given["eps"] = parameters.eps
    try:
        return create_optimizer_v2(
            module,
            opt=parameters.name,
            lr=lr,
            weight_decay=parameters.weight_decay,
            momentum=parameters.momentum,
            **given,
        )
    except ValueError as error:
        raise ValueError(
            f"optimizer '{parameters.name}': {error}; see timm.optim.list_optimizers()"
        ) from error


def build_schedule(
    optimizer: torch.optim.Optimizer,
    parameters: OptimizerParameters,
    *,
    steps_per_epoch: int,
    total_steps: int,
) -> LRScheduler:
    """Linear warm-up, then cosine to ``min_lr``; one call of ``step`` per optimizer step."""
    warmup = min(round(parameters.warmup_epochs * steps_per_epoch), max(total_steps - 1, 0))
    cosine = CosineAnnealingLR(
        optimizer, T_max=max(total_steps - warmup, 1), eta_min=parameters.min_lr
    )
    if warmup == 0:
        return cosine
    ramp = LinearLR(optimizer, start_factor=parameters.warmup_factor, total_iters=warmup)
    return SequentialLR(optimizer, [ramp, cosine], milestones=[warmup])


def configure_training(module: L.LightningModule, parameters: OptimizerParameters) -> Any:
    """What ``configure_optimizers`` of a module returns; prints the learning rate's rule.

    The batch size is that of the trainer's datamodule, per process.
    """
    trainer = module.trainer
    batch = trainer.datamodule.batch_size  # type: ignore[attr-defined]
    global_batch = batch * trainer.world_size * trainer.accumulate_grad_batches
    lr = scaled_lr(parameters, global_batch)
    module.print(
        f"learning rate {lr:.3g} = base_lr {parameters.base_lr:g}"
        f" * global batch {global_batch} / 256"
    )
    optimizer = build_optimizer(module, parameters, lr)
    epochs = max(trainer.max_epochs or 1, 1)
    total = total_steps(trainer)
    schedule = build_schedule(
        optimizer, parameters, steps_per_epoch=max(total // epochs, 1), total_steps=total
    )
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def total_steps(trainer: L.Trainer) -> int:
    """Optimizer steps of the whole run.

    Raises:
        ValueError: the run has no end.
    """
    total = trainer.estimated_stepping_batches
    if total == float("inf"):
        raise ValueError("set trainer.max_epochs or trainer.max_steps: the schedule needs an end")
    return max(int(total), 1)


def seed_step(module: L.LightningModule, seed: int) -> None:
    """Make a step's randomness a function of its number, for exact resumption."""
    step = module.trainer.fit_loop.epoch_loop.total_batch_idx
    state = np.random.SeedSequence((seed, module.global_rank, step)).generate_state(1)
    torch.manual_seed(int(state[0]))
