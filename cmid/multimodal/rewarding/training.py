"""The command that trains by rewards, with models of this project beside those of Hugging Face."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from cmid.multimodal.folder import is_model
from cmid.multimodal.rewarding.policy import Opening, open_processor
from cmid.multimodal.rewarding.sampling import scene_questions, seen_size
from cmid.vision_language.scoring import grpo_training
from cmid.vision_language.scoring.grpo_training import Family, GRPORunConfig, hugging_face


def train_grpo(args: Sequence[str]) -> Path:
    """Run the command with these arguments; returns the folder of the trained model.

    Raises:
        FileNotFoundError, ValueError, ModuleNotFoundError: with a one-line message.
    """
    return grpo_training.train_grpo(args, family=family_of)


def family_of(config: GRPORunConfig, model: str) -> Family:
    """The family of models that a folder or name belongs to.

    Raises:
        FileNotFoundError, OSError, ValueError: it cannot be opened, or weights are to be split.
    """
    if not is_model(model):
        return hugging_face(config, model)
    for name in ("fsdp", "deepspeed"):
        if config.trainer.get(name) or os.environ.get(f"ACCELERATE_USE_{name.upper()}") == "true":
            raise ValueError(
                f"{name} splits weights, and a model of this project is written whole: leave it out"
            )
    given = config.trainer.get("model_init_kwargs") or {}
    trained = None if config.trained is None else tuple(config.trained)
    return Family(
        processor=open_processor(model, given.get("language_model")),
        system="",
        form="plain",
        config=None,
        opening={"architecture": Opening(trained)},
        scenes=scene_questions(config.num_scenes, size=seen_size(model), seed=config.scene_seed),
    )
