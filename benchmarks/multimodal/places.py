"""How soon a small model learns where something is, by the first weights of its perceiver.

    python -m benchmarks.multimodal.places --deviations 0.02 0.09

The easiest question of its kind: the box of the one bright rectangle on noise, 32 new images a
step, with the parts of the default run. Prints the loss of the boxes' tokens while it learns, and
the share of unseen boxes that it writes to the number.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import lightning as L
import numpy as np
import torch

from cmid.command_line import command
from cmid.multimodal.boxes import BoxForm
from cmid.multimodal.building import MultimodalConfig
from cmid.multimodal.conversation import Conversation
from cmid.multimodal.data import ConversationSource, Example, MultimodalData
from cmid.multimodal.language import LanguageConfig
from cmid.multimodal.module import MultimodalTraining
from cmid.multimodal.perceiver import PerceiverConfig
from cmid.multimodal.stages import StageConfig
from cmid.multimodal.tower import TowerConfig
from cmid.optimization import OptimizerConfig
from cmid.options import at_least
from cmid.reporting import Row, Table, markdown_table

QUESTION = "[VG] Where is the square?"
_SIZE, _BATCH, _UNSEEN = 64, 32, 1_000_000


@dataclass(frozen=True)
class PlacesConfig:
    """What is compared.

    Attributes:
        deviations: of the perceiver's first weights.
        steps: of training.
        queries: visual tokens of the two levels (8 x 8 and 4 x 4 cells).
        questions: about unseen images.
        seed: random seed.
    """

    deviations: tuple[float, ...] = (0.02, 128**-0.5)
    steps: Annotated[int, at_least(1)] = 250
    queries: tuple[int, int] = (32, 20)
    questions: Annotated[int, at_least(1)] = 100
    seed: int = 0


class Rectangles(ConversationSource):
    """Images with one bright rectangle each, and its box."""

    boxes, single_turn = BoxForm(cells=99), True

    def __init__(self, count: int, *, first: int = 0) -> None:
        self.count, self.first = count, first

    def __len__(self) -> int:
        return self.count

    def read(self, index: int, *, generator: np.random.Generator | None = None) -> Example:
        draws = np.random.default_rng(self.first + index)
        image = (draws.normal(100, 8, (3, _SIZE, _SIZE))).clip(0, 255).astype(np.uint8)
        sides = draws.integers(8, 21, 2)
        corner = draws.integers(0, _SIZE - sides + 1)
        (x0, y0), (x1, y1) = corner, corner + sides
        image[:, y0:y1, x0:x1] = 220
        answer = self.boxes.write(np.array([[x0, y0], [x1, y1]]) / _SIZE)
        asked = Conversation.of([(QUESTION, answer)], images=1)
        return Example((torch.from_numpy(image),), (asked,), f"rectangle {index}")


class _Losses(L.Callback):
    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *_: Any) -> None:
        self.values.append(float(outputs["loss"]))


@command(PlacesConfig, memory="--queries")
def main(config: PlacesConfig) -> None:
    """Train a model for each deviation; print the table."""
    ends = sorted({config.steps * quarter // 4 for quarter in (1, 2, 3, 4)} - {0})
    rows = []
    for deviation in config.deviations:
        losses, exact = learn(config, deviation)
        told = [f"{statistics.fmean(losses[max(0, end - 10) : end]):.2f}" for end in ends]
        rows.append(Row(f"{deviation:.3f}", (*told, f"{exact:.2f}")))
    head = ("deviation", *(f"loss at {end}" for end in ends), "exact boxes")
    print(markdown_table(Table(head, tuple(rows)), aligned=True))


def learn(config: PlacesConfig, deviation: float) -> tuple[Sequence[float], float]:
    """Losses of all steps, and the share of unseen boxes that is right to the number."""
    L.seed_everything(config.seed, verbose=False)
    network = MultimodalConfig(
        tower=TowerConfig("random:resnet18", levels=(2, 3), size=_SIZE),
        perceiver=PerceiverConfig(
            queries=config.queries, width=128, heads=4, layers=2, deviation=deviation,
            positions="keys_and_values",
        ),
        language=LanguageConfig("tiny:llama:128x3"),
        seed=config.seed,
    )  # fmt: skip
    data = MultimodalData(
        Rectangles(config.steps * _BATCH), size=_SIZE, batch_size=_BATCH, num_workers=0
    )
    module = MultimodalTraining(
        network,
        stage=StageConfig(trained=("tower", "perceiver", "language"), average="roots"),
        optimizer=OptimizerConfig(
            name="adamw", base_lr=8e-3, weight_decay=0.05, betas=(0.9, 0.98), warmup_steps=20
        ),
        texts=data.texts(),
        seed=config.seed,
    )
    losses = _Losses()
    trainer = L.Trainer(
        max_steps=config.steps, callbacks=[losses], logger=False, enable_checkpointing=False,
        enable_model_summary=False, gradient_clip_val=1.0,
    )  # fmt: skip
    trainer.fit(module, data)
    model = module.model.eval()
    unseen = Rectangles(config.questions, first=_UNSEEN)
    examples = [unseen.read(index) for index in range(config.questions)]
    answers = model.generate([QUESTION] * len(examples), [e.images[0] for e in examples])
    true = [example.conversations[0].turns[0].answer for example in examples]
    right = [said.strip() == own for said, own in zip(answers, true, strict=True)]
    return losses.values, statistics.fmean(right)


if __name__ == "__main__":
    main()
