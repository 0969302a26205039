"""How often a scorer prefers what is preferred, by kind; measured while it is trained, too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch

from cmid.processes import gather_rows
from cmid.vision_language.scoring.preferences import PreferenceSource, score_preferences
from cmid.vision_language.scoring.scorer import Scorer


@dataclass(frozen=True)
class PairAccuracy:
    """Share of pairs whose better candidate has the greater score; equal scores are wrong.

    Attributes:
        overall: of all pairs.
        kinds: of the pairs of each kind.
        pairs: number of all pairs.
    """

    overall: float
    kinds: Mapping[str, float]
    pairs: int

    def __str__(self) -> str:
        kinds = ", ".join(f"{kind} {share:.3f}" for kind, share in self.kinds.items() if kind)
        return f"{self.overall:.3f}" + (f" ({kinds})" if kinds else "")


def pair_accuracy(
    scorer: Scorer,
    source: PreferenceSource,
    *,
    batch_size: int = 64,
    rank: int = 0,
    world_size: int = 1,
    device: torch.device | str = "cpu",
) -> PairAccuracy:
    """Accuracy on held-out preferences.

    Args:
        batch_size: images at a time.
        rank, world_size: this process, and how many share the work; each gets the same result.
        device: where processes exchange what they counted.

    Raises:
        UnreadableImageError: an image cannot be decoded.
    """
    kinds = sorted({each.kind for k in range(len(source)) for each in source.preferences(k)})
    counts = torch.zeros(len(kinds), 2, dtype=torch.int64)  # pairs, and right ones
    # All processes score equally often: a sharded model needs all of them at once.
    own = range(rank, -(-len(source) // world_size) * world_size, world_size)
    for start in range(0, len(own), batch_size):
        numbers = own[start : start + batch_size]
        indices = [number % len(source) for number in numbers]
        of_images = [source.preferences(index) for index in indices]
        scored = score_preferences(scorer.score, [source.read(k) for k in indices], of_images)
        for number, preferences, scores in zip(numbers, of_images, scored, strict=True):
            if number < len(source):
                for each, own_scores in zip(preferences, scores, strict=True):
                    right = [bool(own_scores[i] > own_scores[j]) for i, j in each.pairs()]
                    counts[kinds.index(each.kind)] += torch.tensor([len(right), sum(right)])
    total = gather_rows(counts[None].to(device)).sum(dim=0).tolist()
    pairs = sum(number for number, _ in total)
    return PairAccuracy(
        sum(right for _, right in total) / max(pairs, 1),
        {kind: right / max(n, 1) for kind, (n, right) in zip(kinds, total, strict=True)},
        pairs,
    )


class HeldOutPreferences(L.Callback):
    """Measure `pair_accuracy` before the first step, now and then, and at the end.

    Does nothing without a source.

    Args:
        source: preferences that are not trained on.
        every_n_steps: how often; 0 measures after each epoch only, as it always does.
        batch_size: images at a time.
    """

    def __init__(
        self,
        source: PreferenceSource | None = None,
        *,
        every_n_steps: int = 0,
        batch_size: int = 64,
    ) -> None:
        self.source, self.every_n_steps, self.batch_size = source, every_n_steps, batch_size
        self.initial: float | None = None
        self.last: PairAccuracy | None = None
        self._measured = -1

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        if trainer.global_step == 0:
            self._measure(trainer, pl_module)
            self.initial = None if self.last is None else self.last.overall

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *_: Any) -> None:
        if self.every_n_steps and trainer.global_step % self.every_n_steps == 0:
            self._measure(trainer, pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        self._measure(trainer, pl_module)

    def _measure(self, trainer: L.Trainer, pl_module: Any) -> None:
        step = trainer.global_step
        if self.source is None or step == self._measured:
            return
        self._measured = step
        self.last = pair_accuracy(
            pl_module.scorer,
            self.source,
            batch_size=self.batch_size,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
            device=pl_module.device,
        )
        kinds = {f"preference/{k}": share for k, share in self.last.kinds.items() if k}
        for logger in trainer.loggers:
            logger.log_metrics({"preference/accuracy": self.last.overall} | kinds, step=step)
        pl_module.print(f"step {step}: held-out accuracy {self.last}")

    def state_dict(self) -> dict[str, Any]:
        return {"initial": self.initial}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.initial = state_dict["initial"]
