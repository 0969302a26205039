"""What picking the best of several answers is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cmid.options import at_least, option


@dataclass(frozen=True)
class BestOfNConfig:
    """Questions, the model that answers, and what picks.

    Attributes:
        data: questions: .json, .jsonl or .parquet, or 'scenes'.
        model: folder of a multimodal model of this project, or folder or name of an
            image-text-to-text model of Hugging Face.
        out: folder of the answers and the report; a run that was stopped goes on there.
        scorer: folder of a scorer; its highest score is picked.
        clip: folder or NAME:TAG of a CLIP; the highest similarity to question and answer is picked.
        image_root: folder that paths of images start from (default: that of the questions).
        num_scenes: how many, if generated.
        scene_seed: which ones; training has other seeds than the default.
        limit: the first so many questions only.
        n: answers to each question.
        temperature: of the softmax over words.
        top_p: the likeliest words that hold this share are drawn from.
        max_new_tokens: longer answers are cut.
        system: what the system's turn says; empty: the model's own (default: think, then answer;
            of a model of this project its own).
        batch_size: questions at a time, each with n answers.
        seed: of the answers.
        preferences: also write true answers and wrong samples as preferences.json, from which
            tools/train_scorer.py learns.
        device: cpu, cuda, ... (default: cuda where there is one).
    """

    data: str
    model: str = option(metavar="MODEL")
    out: Path = option(metavar="DIR")
    scorer: Path | None = None
    clip: str | None = None
    image_root: Path | None = None
    num_scenes: Annotated[int, at_least(1)] = 100
    scene_seed: int = 1
    limit: Annotated[int, at_least(1)] | None = None
    n: Annotated[int, at_least(1)] = 10
    temperature: Annotated[float, at_least(0.01)] = 0.95
    top_p: Annotated[float, at_least(0.01, 1)] = 1.0
    max_new_tokens: Annotated[int, at_least(1)] = 256
    system: str | None = None
    batch_size: Annotated[int, at_least(1)] = 8
    seed: int = 0
    preferences: bool = False
    device: str | None = None
