"""In which ways a task is learned: from how many labels, the backbone frozen or not, its stride."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from benchmarks.openmmlab.experiment import load_config, parse_options
from benchmarks.openmmlab.few_labels import build_training_set, classes_of, draw
from benchmarks.suite.strides import USUAL
from benchmarks.suite.tasks import Task
from cmid.configurations import working_folder
from cmid.evaluation.linear import fewest_of_a_class


@dataclass(frozen=True)
class Variant:
    """A way to learn.

    Attributes:
        labels: number of labelled training images as a word, or ``all``.
        frozen: the backbone stays as it is.
        stride: of its last map.
    """

    labels: str = "all"
    frozen: bool = False
    stride: int = USUAL

    @property
    def labels_name(self) -> str:
        """The number in words: ``10 labels``."""
        return f"{self.labels} label{'' if self.labels == '1' else 's'}"

    @property
    def mode(self) -> str:
        """``frozen`` or ``fine-tuned``."""
        return "frozen" if self.frozen else "fine-tuned"

    def __str__(self) -> str:
        stride = f", stride {self.stride}" if self.stride != USUAL else ""
        return f"{self.labels_name}, {self.mode}{stride}"

    @property
    def folder(self) -> str:
        """Name of its folder; none for the plain way, whose runs lie where they always did."""
        parts = [f"labels-{self.labels}"] if self.labels != "all" else []
        parts += ["frozen"] if self.frozen else []
        return "-".join([*parts, *([f"stride-{self.stride}"] if self.stride != USUAL else [])])

    @property
    def arguments(self) -> list[str]:
        """Options of ``tools/train.py``; see `stride_options` for the stride."""
        few = ["--labels", self.labels] if self.labels != "all" else []
        return [*few, *(["--frozen"] if self.frozen else [])]


PLAIN = Variant()


def variants(
    labels: Sequence[str], *, frozen: bool, strides: Sequence[int] = (USUAL,)
) -> list[Variant]:
    """Every number of labels with each stride: fine-tuned, then frozen if that is asked for."""
    modes = (False, True) if frozen else (False,)
    ways = product(modes, dict.fromkeys(labels), strides)
    return [Variant(count, mode, stride) for mode, count, stride in ways]


def labels_of(task: Task, labels: Sequence[str], options: Sequence[str]) -> int:
    """Build a task's training set, and make sure that it has as many labels as are asked for.

    Returns:
        How many there are; of the rarest class where images have one class each.

    Raises:
        ValueError: there are fewer; names the task and the number.
        FileNotFoundError, ValueError: as the task's data set.
    """
    config = load_config(task.config, options=parse_options([*task.options, *options]))
    with _inside(working_folder()):
        classes = classes_of(build_training_set(config))
    for count in labels:
        if count == "all":
            continue
        try:
            draw(classes, int(count), seed=0)
        except ValueError as error:
            raise ValueError(f"{task.name}: --labels {count}: {error}") from error
    return fewest_of_a_class(classes)


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Where relative paths of configurations start from, as runs are started there."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
