"""Pretrain with a rival method on the data, views and schedule of a CMID configuration.

    python -m benchmarks.rivals.train METHOD --config configs/pretrain/NAME.yaml [--FIELD VALUE ...]

METHOD is simclr, mocov2, byol or dino; the fields are those of ``tools/pretrain.py``. What belongs
to CMID alone (masks, loss weights, matches) has no effect.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.rivals.methods import Rival
from cmid.callbacks import SkippedImages, TrainingProgress
from cmid.command import PretrainCLI
from cmid.export import to_timm

METHODS = ("simclr", "mocov2", "byol", "dino")


def train(method: str, args: list[str]) -> Path:
    """Train and export; returns the exported folder."""
    cli = PretrainCLI(args)
    settings, model, data = cli.config["model"], cli.model, cli.datamodule
    rival = Rival(
        method,
        encoder=model.student.encoder,  # CMID would start from the same weights
        views=model.views,
        temperature=settings["temperature"],
        queue_size=settings["queue_size"],
        prototypes=settings["num_prototypes"],
        momentum=model.teacher_parameters.momentum,
        optimizer=model.optimizer_parameters,
        memory_format=model.memory_format,
    )
    kept = (TrainingProgress, SkippedImages)
    cli.trainer.callbacks = [c for c in cli.trainer.callbacks if isinstance(c, kept)]  # type: ignore[attr-defined]
    cli.trainer.fit(rival, data)
    folder = cli.run_dir / "backbone"
    to_timm(
        rival.method.encoder,
        folder,
        statistics=model.statistics,
        provenance=rival.provenance(),
        overwrite=True,
    )
    print(f"backbone: {folder}")
    return folder


def main(args: list[str]) -> None:
    if not args or args[0] not in METHODS:
        sys.exit(f"{__doc__}\ngive one of {', '.join(METHODS)} first")
    try:
        train(args[0], args[1:])
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
