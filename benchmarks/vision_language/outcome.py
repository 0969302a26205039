"""What an evaluation is asked, and what it answers."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cmid.models.dual_encoder import ImageTextModel


@dataclass(frozen=True)
class Options:
    """What all evaluations share.

    Attributes:
        out: folder of pictures; None paints nothing.
        pictures: at most so many a model and data set.
        cache: folder of text embeddings, or None.
        batch_size: images at a time; num_workers: processes that read them.
        scenes: number of generated scenes.
        scene_size: their pixels per side; None: the model's. The places are the same at any size.
    """

    out: Path | None = None
    pictures: int = 4
    cache: Path | None = None
    batch_size: int = 64
    num_workers: int = 0
    scenes: int = 200
    scene_size: int | None = None


@dataclass(frozen=True)
class Outcome:
    """Scores of one model on one data set.

    Attributes:
        measures: in [0, 1] by name, higher is better.
        per_class: in [0, 1] by class (nan: no sample), with the name of the measure.
        facts: what was measured, and how, in words.
        chance: of some measures, what guessing reaches.
        pictures: paths of painted images.
    """

    measures: dict[str, float]
    facts: str
    per_class: tuple[str, dict[str, float]] | None = None
    chance: dict[str, float] = field(default_factory=dict)
    pictures: tuple[Path, ...] = ()


class Evaluation(Protocol):
    """A task on one data set: the classes of `benchmarks.vision_language.tasks`."""

    @property
    def task(self) -> str:
        """What is measured."""

    @property
    def data(self) -> str:
        """On what."""

    def needs(self) -> list[str]:
        """Files and folders that have to exist."""

    def run(self, model: ImageTextModel, name: str, options: Options) -> Outcome:
        """Score a model; ``name`` is for progress bars and names of pictures."""


def file_name(text: str) -> str:
    """A model's or a data set's name as part of a path."""
    return re.sub(r"[^\w.-]+", "_", text).strip("_.") or "model"
