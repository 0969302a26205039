"""The learning rate as a pure function of the step: linear warm-up, then a cosine.

What the configuration says holds, also in a resumed run: of a checkpoint only the place in the
schedule is taken, not the rates, decays and lengths of the run that wrote it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from torch.optim.lr_scheduler import LambdaLR

from cmid.resumption import go_on_within_epoch

# What a configuration says of a parameter group. The rest (a step count, running values) is state.
_CONFIGURED = ("lr", "initial_lr", "lr_scale", "weight_decay", "betas", "eps", "momentum")


@dataclass(frozen=True)
class RunLength:
    """How long a run is; the limit that is reached first ends it.

    Attributes:
        steps_per_epoch: optimizer steps; the last one of an epoch may hold fewer batches.
        max_epochs, max_steps: the limits, None for none.
        batches_per_epoch: batches per epoch of each process, where they are known.

    Raises:
        ValueError: the run has no end.
    """

    steps_per_epoch: int
    max_epochs: int | None = None
    max_steps: int | None = None
    batches_per_epoch: int | None = None

    def __post_init__(self) -> None:
        if self.max_epochs is None and self.max_steps is None:
            raise ValueError(
                "set trainer.max_epochs or trainer.max_steps: the schedule needs an end"
            )

    @classmethod
    def of(cls, trainer: L.Trainer) -> RunLength:
        """That of a trainer; asks for its data, whose number of batches counts.

        Raises:
            ValueError: the run has no end.
        """
        if trainer.train_dataloader is None:
            trainer.fit_loop.setup_data()
        _ = trainer.estimated_stepping_batches  # refuses accumulation that changes between epochs
        known = trainer.num_training_batches < math.inf
        batches = int(trainer.num_training_batches) if known else None
        return cls(
            steps_per_epoch=max(math.ceil((batches or 1) / trainer.accumulate_grad_batches), 1),
            batches_per_epoch=batches,
            max_epochs=None if trainer.max_epochs in (None, -1) else trainer.max_epochs,
            max_steps=None if trainer.max_steps == -1 else trainer.max_steps,
        )

    def ended_by_steps(self, ahead: int) -> bool:
        """Whether ``max_steps`` ends the run, whose count is ``ahead`` of its epochs."""
        if self.max_steps is None or self.max_epochs is None:
            return self.max_epochs is None
        return self.max_steps < self.max_epochs * self.steps_per_epoch + ahead


class WarmupCosine(LambdaLR):
    r"""Linear warm-up to the group's rate, then a cosine to ``min_lr``.

    .. math::
        f(t) = w + (1 - w) t / W \text{ for } t < W, \quad
        f(t) = m + (1 - m) (1 + \cos(\pi (t - W) / (T - W))) / 2 \text{ after}

    times the rate of each parameter group, so that groups keep their ratio (layer decay) to the
    end: :math:`m` is ``min_lr`` over the rate of the optimizer, at most 1, and a group with a
    tenth of that rate ends at a tenth of ``min_lr``. After :math:`T` the rate stays.

    A run may be resumed with other steps per epoch (batch, processes, accumulation). The place in
    the schedule is then counted in epochs, unless ``max_steps`` ends the run.

    Args:
        optimizer: optimizer with the highest rate of each group.
        warmup_epochs, warmup_factor, min_lr: :math:`W` in epochs, :math:`w`, and the end.
        length: length of the run.
        warmup_steps: :math:`W` in steps instead.
        trainer: whose run it is; None outside of one.

    Attributes:
        ahead: steps by which the count of steps is ahead of the place in the schedule.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        warmup_epochs: float,
        warmup_factor: float,
        min_lr: float,
        length: RunLength,
        warmup_steps: int | None = None,
        trainer: L.Trainer | None = None,
    ) -> None:
        self.length = length
        self.trainer = trainer
        self.warmup_epochs, self.warmup_steps = warmup_epochs, warmup_steps
        self.warmup_factor = warmup_factor
        self.ahead = 0
        self.highest = float(optimizer.defaults["lr"])
        self.floor = min(min_lr / self.highest, 1.0) if self.highest > 0 else 1.0
        super().__init__(optimizer, self.factor)
        self._configured = [
            {key: group[key] for key in _CONFIGURED if key in group}
            for group in optimizer.param_groups
        ]

    @property
    def total(self) -> int:
        """Steps that the schedule spans, at least 1."""
        length = self.length
        if length.ended_by_steps(self.ahead):
            return max(int(length.max_steps or 1), 1)
        return max(int(length.max_epochs or 1) * length.steps_per_epoch, 1)

    @property
    def warmup(self) -> int:
        """Steps of the warm-up; the highest rate is reached in the last step at the latest."""
        steps = self.warmup_steps
        if steps is None:
            steps = round(self.warmup_epochs * self.length.steps_per_epoch)
        return min(steps, self.total - 1)

    def place(self, step: int) -> int:
        """Place in the schedule, 0 to ``total``, of an optimizer step of the run."""
        ahead = 0 if self.length.ended_by_steps(self.ahead) else self.ahead
        return min(max(step - ahead, 0), self.total)

    def factor(self, step: int) -> float:
        """Share of the highest rate that an optimizer step uses."""
        place, warmup = self.place(step), self.warmup
        if place < warmup:
            return self.warmup_factor + (1 - self.warmup_factor) * place / warmup
        progress = (place - warmup) / (self.total - warmup)
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * progress)) / 2

    def state_dict(self) -> dict[str, Any]:
        """The place alone."""
        return {
            "last_epoch": self.last_epoch,
            "steps_per_epoch": self.length.steps_per_epoch,
            "batches_per_epoch": self.length.batches_per_epoch,
            "ahead": self.ahead,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on where a run stood, with the rates and lengths of this one.

        Args:
            state_dict: state of this class, or of any torch scheduler that counted steps.
        """
        step = self.last_epoch = int(state_dict["last_epoch"])
        self._step_count = step + 1
        per_epoch = self.length.steps_per_epoch
        before = int(state_dict.get("steps_per_epoch", per_epoch))
        self.ahead = int(state_dict.get("ahead", 0))
        if before != per_epoch:
            self.ahead = step - round((step - self.ahead) * per_epoch / before)
        factor = self.factor(step)
        for group, configured, base in zip(
            self.optimizer.param_groups, self._configured, self.base_lrs, strict=True
        ):
            group.update(configured)
            group["lr"] = base * factor
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]
        if self.trainer is not None:
            go_on_within_epoch(
                self.trainer,
                before=state_dict.get("batches_per_epoch"),
                now=self.length.batches_per_epoch,
            )
            self.trainer.lightning_module.print(
                f"resumed at step {step}, {self.place(step)} of {self.total} of the schedule:"
                f" learning rate {self.highest * factor:g}"
            )


def ends_due_epoch(trainer: L.Trainer, every: int) -> bool:
    """Whether an epoch ends now that is one of each ``every`` (0: of none), or the run's last.

    The last is so by either limit or a stop.
    """
    return (
        (every > 0 and (trainer.current_epoch + 1) % every == 0)
        or trainer.should_stop
        or trainer.current_epoch + 1 == trainer.max_epochs
        or 0 < trainer.max_steps <= trainer.global_step
    )
