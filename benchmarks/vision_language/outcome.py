"""What an evaluation is asked, and what it answers."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from cmid.options import at_least, option
from cmid.vision_language.clip.config import DenseMode


@dataclass(frozen=True)
class ModelsConfig:
    """The models that are evaluated.

    Attributes:
        model: see above; one or several.
        dense_mode: read-out of the patches of a transformer: vanilla is its last block as it is;
            the others have another attention, without residual and MLP but for maskclip_published
            and sclip_published, which keep them as those methods do (default: the model's own, or
            segearth).
        device: cpu, cuda, ... (default: cuda where there is one).
    """

    model: tuple[str, ...] = option(metavar="SPEC")
    dense_mode: DenseMode | None = None
    device: str | None = None


@dataclass(frozen=True)
class EvaluationConfig:
    """What all evaluations share.

    Attributes:
        out: folder of the report and its painted maps.
        pictures: painted maps a model and data set.
        cache: folder for embeddings of texts.
        batch_size: images or windows at a time.
        num_workers: processes that read images.
        scenes: how many, if generated; their places are the same at any size.
        scene_size: their pixels per side (default: the model's size).
    """

    out: Path | None = option(None, metavar="DIR")
    pictures: Annotated[int, at_least(0)] = 4
    cache: Path | None = None
    batch_size: Annotated[int, at_least(1)] = 64
    num_workers: Annotated[int, at_least(0)] = 0
    scenes: Annotated[int, at_least(1)] = 200
    scene_size: Annotated[int, at_least(16)] | None = None


@dataclass(frozen=True)
class Outcome:
    """Scores of one model on one data set.

    Attributes:
        measures: scores in [0, 1] by name, higher is better.
        per_class: name of a measure, and its value in [0, 1] by class (nan: no sample).
        facts: what was measured, and how, in words.
        chance: value that guessing reaches, for some measures.
        pictures: paths of painted images.
    """

    measures: dict[str, float]
    facts: str
    per_class: tuple[str, dict[str, float]] | None = None
    chance: dict[str, float] = field(default_factory=dict)
    pictures: tuple[Path, ...] = ()


def file_name(text: str) -> str:
    """A model's or a data set's name as part of a path."""
    return re.sub(r"[^\w.-]+", "_", text).strip("_.") or "model"
